"""The emotion labels that all corpora, packs and events share."""

from __future__ import annotations

__all__ = ["LABELS", "SIX_LABELS", "check_labels"]

LABELS: tuple[str, ...] = (
    "anger",
    "boredom",
    "calm",
    "disgust",
    "fear",
    "happiness",
    "neutral",
    "sadness",
    "surprise",
)
"""Every label a corpus reader may produce or a pack may list, in alphabetical order."""

SIX_LABELS: tuple[str, ...] = ("anger", "disgust", "fear", "happiness", "neutral", "sadness")
"""The subset that EmoDB, RAVDESS, TESS, SAVEE and CREMA-D have in common."""


def check_labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``labels`` unchanged if each is known and none is repeated.

    Raises:
        ValueError: a label is unknown or stands twice, or fewer than two are given.
    """
    unknown = [label for label in labels if label not in LABELS]
    if unknown:
        raise ValueError(f"unknown label {unknown[0]!r}; known are {', '.join(LABELS)}")
    if len(set(labels)) != len(labels):
        raise ValueError(f"a label stands twice in {', '.join(labels)}")
    if len(labels) < 2:
        raise ValueError("at least two labels are needed")
    return labels
