"""Linear baselines that every model has to beat in the same folds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ser.corpora import Clip, Fold
from edge_ser.corpora.folds import apart_from
from edge_ser.errors import UsageError
from edge_ser.training.acoustics import Functionals
from edge_ser.training.discriminant import linear_classifier
from edge_ser.training.extract import extract
from edge_ser.training.results import FoldResult
from edge_ser.training.semantic import encoder_states
from edge_ser.training.tracks import known_labels

__all__ = ["BASELINES", "baseline_vectors", "linear_fold"]

BASELINES = ("baseline-egemaps", "baseline-encoder")

Vectors = dict[Clip, NDArray[np.float32]]


def baseline_vectors(
    kind: str,
    clips: Sequence[Clip],
    cache: Path,
    *,
    encoder: str,
    layers: tuple[int, ...] | None,
    skip: bool = False,
) -> Vectors:
    """One vector a clip: eGeMAPS functionals, or mean and deviation of encoder states.

    Args:
        kind: one of ``BASELINES``.
        clips: of every corpus.
        cache: folder of cached features.
        encoder: speech encoder, see ``open_encoder``.
        layers: its hidden states, side by side; None for all.
        skip: leave out unreadable clips instead of stopping.

    Raises:
        UsageError: no such baseline.
        InputError: a clip cannot be read.
    """
    if kind == "baseline-egemaps":
        found = extract(clips, Functionals(), cache, what="eGeMAPS", skip_unreadable=skip)
        return {clip: arrays[0] for clip, arrays in found.items()}
    if kind != "baseline-encoder":
        raise UsageError(f"no baseline {kind!r}; known are {', '.join(BASELINES)}")
    states = encoder_states(clips, encoder, cache, layers=layers, skip_unreadable=skip)
    vectors: Vectors = {}
    for clip, arrays in states.values.items():
        values = arrays[0].astype(np.float32)
        vectors[clip] = np.concatenate([values.mean(axis=1), values.std(axis=1)]).ravel()
    return vectors


def linear_fold(
    vectors: Vectors, fold: Fold, extra: Sequence[Clip], labels: tuple[str, ...]
) -> FoldResult:
    """Linear discriminant analysis with shrinkage (Ledoit and Wolf) on standardised vectors.

    It has no setting that could be tuned on test data. As the models, it never answers with a
    label that the corpus of a clip does not have.

    Args:
        vectors: of every clip.
        fold: the split.
        extra: clips that are never tested on; those of the fold's test speakers are left out.
        labels: in the order of the logits.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    train = [*fold.train, *apart_from(extra, fold.test)]
    model = linear_classifier(len(labels))
    model.fit(
        np.stack([vectors[clip] for clip in train]),
        [labels.index(clip.label) for clip in train],
    )
    chances = model.predict_proba(np.stack([vectors[clip] for clip in fold.test]))
    chances *= known_labels(fold.test, labels, train)
    return FoldResult(fold, np.log(np.maximum(chances, 1e-8)).astype(np.float32), 0)
