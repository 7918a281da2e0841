"""What a corpus folder holds: per speaker and label, what is missing, what was refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_ser.audio import load_mono
from edge_ser.corpora.clips import Clip, Corpus
from edge_ser.corpora.twins import twins
from edge_ser.errors import InputError

__all__ = ["EXPECTED_CLIPS", "EXPECTED_SPEAKERS", "Survey", "check_lengths", "survey"]

EXPECTED_SPEAKERS = {
    "emodb": 10,
    "ravdess": 24,
    "savee": 4,
    "cremad": 91,
    "tess": 2,
    "iemocap": 10,
    "kesdy18": 30,
}
"""Speakers of each whole corpus."""

EXPECTED_CLIPS = {
    "emodb": 535,
    "ravdess": 1440,
    "savee": 480,
    "cremad": 7442,
    "tess": 2800,
    "iemocap": 5531,
    "kesdy18": 2880,
}
"""Clips of each whole corpus that have one of its labels."""

_RATE_HZ = 16_000
_TOLERANCE_S = 0.5
_FEW = 0.1  # share of clips that may contradict their label file before all of them are doubted
_SILENCE = 1e-4  # -80 dB of full scale


@dataclass(frozen=True)
class Survey:
    """The findings.

    Attributes:
        corpus: what was read.
        unreadable: message per clip that cannot be decoded; None where audio was not read.
        contradicted: clips whose length is not the one its label file tells.
        seconds: of all readable clips; None where audio was not read.
        silent: clips without any sound; None where audio was not read.
        twins: names of files that hold the very same audio, group by group; None where audio
            was not read.
    """

    corpus: Corpus
    unreadable: tuple[str, ...] | None
    contradicted: tuple[str, ...]
    seconds: float | None
    twins: tuple[str, ...] | None = None
    silent: tuple[str, ...] | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing is missing, unreadable, silent, contradicted or foreign."""
        return not (
            self.corpus.foreign
            or self.corpus.missing
            or self.corpus.repeated
            or self.unreadable
            or self.contradicted
            or self.twins
            or self.silent
            or self.gaps()
        )

    def gaps(self) -> list[str]:
        """Clips and speakers that are absent from the corpus, and labels that a speaker lacks.

        Not every speaker of a whole corpus has every label (EmoDB).
        """
        clips, name = self.corpus.clips, self.corpus.naming.corpus
        if len(clips) >= EXPECTED_CLIPS[name]:
            return []
        speakers = sorted({clip.speaker for clip in clips})
        labels = sorted(set(self.corpus.naming.emotions.values()))
        found = [f"{len(clips)} of {EXPECTED_CLIPS[name]} clips are here"]
        if len(speakers) < EXPECTED_SPEAKERS[name]:
            found.append(f"{len(speakers)} of {EXPECTED_SPEAKERS[name]} speakers are here")
        here = {(clip.speaker, clip.label) for clip in clips}
        for speaker in speakers:
            absent = [label for label in labels if (speaker, label) not in here]
            if absent:
                found.append(f"{speaker} has no {', '.join(absent)}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        corpus = self.corpus
        table: dict[str, dict[str, int]] = {}
        for clip in corpus.clips:
            row = table.setdefault(clip.speaker, {})
            row[clip.label] = row.get(clip.label, 0) + 1
        return {
            "corpus": corpus.naming.corpus,
            "root": str(corpus.root),
            "n": len(corpus.clips),
            "whole": self.whole,
            "labels": dict(sorted(Counter(clip.label for clip in corpus.clips).items())),
            "speakers": {speaker: table[speaker] for speaker in sorted(table)},
            "gaps": self.gaps(),
            "missing": list(corpus.missing),
            "refused": [str(path) for path in corpus.foreign],
            "repeated": [str(path) for path in corpus.repeated],
            "unused_labels": dict(sorted(corpus.unused.items())),
            "unreadable": None if self.unreadable is None else list(self.unreadable),
            "contradicted": list(self.contradicted),
            "seconds": self.seconds,
            "silent": None if self.silent is None else list(self.silent),
            "twins": None if self.twins is None else list(self.twins),
        }


def survey(corpus: Corpus, *, read_audio: bool) -> Survey:
    """Look through ``corpus``; with ``read_audio``, decode every clip."""
    if not read_audio:
        return Survey(corpus, None, (), None)
    told = _told_seconds(corpus)
    unreadable, contradicted, silent, total = [], [], [], 0.0
    for clip in corpus.clips:
        try:
            samples = load_mono(clip.path, _RATE_HZ)
        except InputError as error:
            unreadable.append(str(error))
            continue
        seconds = len(samples) / _RATE_HZ
        total += seconds
        contradicted += _contradiction(clip, seconds, told)
        if np.abs(samples).max() < _SILENCE:
            silent.append(str(clip.path))
    alike = [" = ".join(clip.path.name for clip in group) for group in twins(corpus.clips)]
    return Survey(
        corpus, tuple(unreadable), tuple(contradicted), total, tuple(alike), tuple(silent)
    )


def check_lengths(corpus: Corpus) -> list[str]:
    """Clips whose length is not the one their label file tells, by their headers alone.

    Raises:
        InputError: they are so many that the label files must be of other audio.
    """
    told = _told_seconds(corpus)
    if not told:
        return []
    import soundfile

    found: list[str] = []
    for clip in corpus.clips:
        with suppress(OSError, RuntimeError):  # who decodes the clips names it
            found += _contradiction(clip, float(soundfile.info(clip.path).duration), told)
    if len(found) > _FEW * len(corpus.clips):
        raise InputError(
            f"{found[0]}; so do {len(found)} of {len(corpus.clips)} clips: the label files are of "
            "other audio"
        )
    return found


def _told_seconds(corpus: Corpus) -> dict[str, float]:
    if corpus.naming.corpus != "iemocap":
        return {}
    from edge_ser.corpora.labelled import turn_seconds

    return turn_seconds(corpus.root)


def _contradiction(clip: Clip, seconds: float, told: Mapping[str, float]) -> list[str]:
    expected = told.get(clip.path.stem, seconds)
    if abs(seconds - expected) <= _TOLERANCE_S:
        return []
    return [f"{clip.path}: lasts {seconds:.2f} s, its label file says {expected:.2f} s"]
