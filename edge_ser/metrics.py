"""Accuracy figures of speech emotion recognition, from labels and probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Scores", "expected_calibration_error", "reliability", "score"]


@dataclass(frozen=True)
class Scores:
    """Figures of one set of predictions.

    Attributes:
        accuracy: share of right predictions (the field's "WA").
        uar: unweighted average recall over the labels that occur (the field's "UA").
        macro_f1: mean F1 over the labels that occur.
        ece: expected calibration error of the top probability, 15 equally wide bins.
        confusion: ``(labels, labels) int``, rows are true labels.
    """

    labels: tuple[str, ...]
    n: int
    accuracy: float
    uar: float
    macro_f1: float
    ece: float
    confusion: NDArray[np.int64]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with precision, recall and F1 of each label."""
        return {
            "n": self.n,
            "accuracy": self.accuracy,
            "uar": self.uar,
            "macro_f1": self.macro_f1,
            "ece": self.ece,
            "labels": list(self.labels),
            "per_class": self.per_class(),
            "confusion": {"labels": list(self.labels), "matrix": self.confusion.tolist()},
        }

    def per_class(self) -> dict[str, dict[str, float | int]]:
        """Precision, recall, F1 and number of clips of each label."""
        recall, precision, f1 = _recall_precision_f1(self.confusion)
        return {
            label: {
                "n": int(self.confusion[i].sum()),
                "recall": float(recall[i]),
                "precision": float(precision[i]),
                "f1": float(f1[i]),
            }
            for i, label in enumerate(self.labels)
        }


def score(
    true: Sequence[int] | NDArray[np.integer[Any]],
    probabilities: NDArray[np.floating[Any]],
    labels: tuple[str, ...],
) -> Scores:
    """Score predictions.

    Args:
        true: ``(n,)`` indices into ``labels``.
        probabilities: ``(n, labels)``, rows sum to 1.

    Raises:
        ValueError: there is nothing to score, the lengths differ, or a value is impossible.
    """
    truth = np.asarray(true, dtype=np.int64)
    if len(truth) == 0 or probabilities.shape != (len(truth), len(labels)):
        raise ValueError(f"cannot score {len(truth)} labels with {probabilities.shape} scores")
    if truth.min() < 0 or truth.max() >= len(labels):
        raise ValueError(f"cannot score: a label is not one of 0..{len(labels) - 1}")
    if not np.isfinite(probabilities).all():
        raise ValueError("cannot score: a probability is not a finite number")
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    present = confusion.sum(axis=1) > 0
    recall, _, f1 = _recall_precision_f1(confusion)
    return Scores(
        labels=labels,
        n=len(truth),
        accuracy=float(np.mean(predicted == truth)),
        uar=float(recall[present].mean()),
        macro_f1=float(f1[present].mean()),
        ece=expected_calibration_error(truth, probabilities),
        confusion=confusion,
    )


def expected_calibration_error(
    true: NDArray[np.int64], probabilities: NDArray[np.floating[Any]], bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy (Guo et al., ICML 2017, section 2)."""
    parts = reliability(true, probabilities, bins)
    return sum(n * abs(confidence - accuracy) for confidence, accuracy, n in parts) / len(true)


def reliability(
    true: NDArray[np.int64], probabilities: NDArray[np.floating[Any]], bins: int = 15
) -> list[tuple[float, float, int]]:
    """Mean confidence, accuracy and number of clips of each bin that is not empty.

    Bins are equally wide, in the order of rising confidence.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == true
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        (float(confidence[member].mean()), float(right[member].mean()), int(member.sum()))
        for member in (bin_of == index for index in np.unique(bin_of))
    ]


def _recall_precision_f1(
    confusion: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    hits = np.diag(confusion).astype(np.float64)
    true, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    recall = hits / np.maximum(true, 1)
    precision = hits / np.maximum(predicted, 1)
    f1 = 2 * hits / np.maximum(true + predicted, 1)
    return recall, precision, f1
