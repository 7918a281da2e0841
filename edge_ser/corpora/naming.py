"""How each corpus writes speaker and emotion into its file names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["NAMINGS", "Naming"]


@dataclass(frozen=True)
class Naming:
    """File naming of one corpus.

    Attributes:
        corpus: short name, as on the command line.
        title: full name for people.
        pattern: matches a file name without its ending; groups ``speaker``, ``emotion``
            and, where the corpus has fixed sentences, ``text``.
        emotions: the corpus's emotion code to one of ``edge_ser.labels.LABELS``.
        example: a file name, for messages.
        licence: terms of use that a model trained on the corpus inherits.
        commercial: whether those terms allow commercial use.
        citation: the publication to cite.
    """

    corpus: str
    title: str
    pattern: re.Pattern[str]
    emotions: Mapping[str, str]
    example: str
    licence: str
    commercial: bool
    citation: str


EMODB = Naming(
    corpus="emodb",
    title="EmoDB, Berlin Database of Emotional Speech (German)",
    pattern=re.compile(r"(?P<speaker>\d{2})(?P<text>[ab]\d{2})(?P<emotion>[A-Z])[a-z]"),
    emotions={
        "W": "anger",
        "L": "boredom",
        "E": "disgust",
        "A": "fear",
        "F": "happiness",
        "T": "sadness",
        "N": "neutral",
    },
    example="03a01Fa.wav",
    licence="free for research and reuse with citation",
    commercial=True,
    citation="Burkhardt et al., A Database of German Emotional Speech, Interspeech 2005",
)

RAVDESS = Naming(
    corpus="ravdess",
    title="RAVDESS speech, audio only (North American English)",
    pattern=re.compile(r"03-01-(?P<emotion>\d{2})-\d{2}-(?P<text>\d{2})-\d{2}-(?P<speaker>\d{2})"),
    emotions={
        "01": "neutral",
        "02": "calm",
        "03": "happiness",
        "04": "sadness",
        "05": "anger",
        "06": "fear",
        "07": "disgust",
        "08": "surprise",
    },
    example="03-01-05-01-02-01-12.wav",
    licence="CC BY-NC-SA 4.0",
    commercial=False,
    citation="Livingstone and Russo, RAVDESS, PLoS ONE 13(5), 2018",
)

TESS = Naming(
    corpus="tess",
    title="TESS, Toronto Emotional Speech Set (North American English)",
    pattern=re.compile(r"(?P<speaker>OAF|YAF)_(?P<text>[A-Za-z]+)_(?P<emotion>[a-z]+)"),
    emotions={
        "angry": "anger",
        "disgust": "disgust",
        "fear": "fear",
        "happy": "happiness",
        "neutral": "neutral",
        "ps": "surprise",
        "sad": "sadness",
    },
    example="OAF_back_angry.wav",
    licence="CC BY-NC-ND 4.0",
    commercial=False,
    citation="Pichora-Fuller and Dupuis, Toronto Emotional Speech Set, 2020",
)

NAMINGS: Mapping[str, Naming] = {naming.corpus: naming for naming in (EMODB, RAVDESS, TESS)}
"""Every corpus that can be read, by its name on the command line."""
