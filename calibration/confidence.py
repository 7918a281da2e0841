"""Temperature and abstention threshold from predictions on speakers not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.metrics import expected_calibration_error
from edge_ser.pack import Calibration

__all__ = ["fit_temperature", "softmax"]

_GRID = np.exp(np.linspace(np.log(0.2), np.log(10.0), 400))


def fit_temperature(
    logits: NDArray[np.floating[Any]], true: Sequence[int], source: str, abstain_share: float = 0.2
) -> Calibration:
    """The temperature that makes the likelihood of ``true`` largest (Guo et al. 2017, 4.2).

    Args:
        logits: ``(n, labels)`` of clips whose speakers the model was not trained on.
        true: ``(n,)`` indices of labels.
        source: what was measured on, for the pack.
        abstain_share: the threshold makes this share of these clips abstain.
    """
    truth = np.asarray(true, np.int64)
    scores = np.asarray(logits, np.float64)

    def loss(temperature: float) -> float:
        chosen = softmax(scores / temperature)[np.arange(len(truth)), truth]
        return float(-np.log(np.maximum(chosen, 1e-12)).mean())

    temperature = float(min(_GRID, key=loss))
    before, after = softmax(scores), softmax(scores / temperature)
    return Calibration(
        temperature=round(temperature, 4),
        abstain_below=round(float(np.quantile(after.max(axis=1), abstain_share)), 4),
        ece_before=round(expected_calibration_error(truth, before), 4),
        ece_after=round(expected_calibration_error(truth, after), 4),
        source=source,
    )


def softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Probabilities along the last axis."""
    powers = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True))
    result: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return result
