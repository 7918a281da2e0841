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
        n_parts: how many of the last parts of the path, joined by ``/``, the pattern sees;
            more than one where folders carry speaker or emotion.
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
    n_parts: int = 1


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

SAVEE = Naming(
    corpus="savee",
    title="SAVEE, Surrey Audio-Visual Expressed Emotion (British English)",
    # AudioData/DC/n23.wav as published, or flat as DC_n23.wav.
    pattern=re.compile(
        r"(?:.*/)?(?P<speaker>DC|JE|JK|KL)[_/](?=(?P<text>.*))(?P<emotion>sa|su|[adfhn])\d{2}"
    ),
    emotions={
        "a": "anger",
        "d": "disgust",
        "f": "fear",
        "h": "happiness",
        "n": "neutral",
        "sa": "sadness",
        "su": "surprise",
    },
    example="DC/n23.wav or DC_n23.wav",
    licence="research only, after registration",
    commercial=False,
    citation="Haq and Jackson, Multimodal Emotion Recognition, 2010",
    n_parts=2,
)

CREMAD = Naming(
    corpus="cremad",
    title="CREMA-D, Crowd-sourced Emotional Multimodal Actors Dataset (American English)",
    pattern=re.compile(
        r"(?P<speaker>1\d{3})_(?P<text>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?:LO|MD|HI|XX|X)"
    ),
    emotions={
        "ANG": "anger",
        "DIS": "disgust",
        "FEA": "fear",
        "HAP": "happiness",
        "NEU": "neutral",
        "SAD": "sadness",
    },
    example="1052_WSI_ANG_XX.wav",
    licence="ODbL 1.0",
    commercial=True,
    citation="Cao et al., CREMA-D, IEEE Transactions on Affective Computing 5(4), 2014",
)

IEMOCAP = Naming(
    corpus="iemocap",
    title="IEMOCAP, four classes, happiness and excitement merged (American English)",
    pattern=re.compile(
        r"(?P<session>Ses0[1-5])[FM]_(?P<text>(?:impro|script)\w+)_(?P<speaker>[FM])\d{3}"
    ),
    emotions={
        "ang": "anger",
        "exc": "happiness",
        "hap": "happiness",
        "neu": "neutral",
        "sad": "sadness",
    },
    example="Session1/sentences/wav/Ses01F_impro04/Ses01F_impro04_F000.wav",
    licence="USC release form, research only, no redistribution",
    commercial=False,
    citation="Busso et al., IEMOCAP, Language Resources and Evaluation 42, 2008",
)

KESDY18 = Naming(
    corpus="kesdy18",
    title="KESDy18, Korean Emotional Speech Dataset of ETRI",
    # Where speaker (M or F and a number) and emotion word stand differs between copies; the
    # last one in the path counts, and "unhappy" is no "happy".
    pattern=re.compile(
        r"(?=.*(?:^|[/_-])(?P<speaker>[FM]\d{1,2})(?:[/_-]|$))"
        r"(?=.*(?<![a-z])(?P<emotion>angry|happy|neutral|sad)(?![a-z]))(?:.*/)?(?P<text>[^/]*)",
        re.IGNORECASE,
    ),
    emotions={
        "angry": "anger",
        "happy": "happiness",
        "neutral": "neutral",
        "sad": "sadness",
    },
    example="F01/F01_angry_003.wav, or any name listed in labels.csv",
    licence="ETRI agreement, on request",
    commercial=False,
    citation="Noh et al., KESDy18, ETRI, 2018",
    n_parts=3,
)

NAMINGS: Mapping[str, Naming] = {
    naming.corpus: naming for naming in (EMODB, RAVDESS, SAVEE, CREMAD, TESS, IEMOCAP, KESDY18)
}
"""Every corpus that can be read, by its name on the command line."""
