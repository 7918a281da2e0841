"""Temperatures and abstention thresholds from predictions on speakers not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.metrics import expected_calibration_error, reliability
from edge_ser.pack import Calibration, CoveragePoint, HeardPoint, ReliabilityBin

__all__ = [
    "HEARD_S",
    "Unheard",
    "after_seconds",
    "calibrate",
    "cross_calibrated",
    "fit_temperature",
    "risk_coverage",
    "softmax",
]

HEARD_S = (0.5, 1.0, 1.5, 2.0, 3.0)
"""Seconds of speech after which a verdict on a part of an utterance is looked at."""

_GRID = np.exp(np.linspace(np.log(0.2), np.log(10.0), 400))
_ABSTAIN_SHARE = 0.2
_COVERAGES = tuple(round(0.1 * tenths, 1) for tenths in range(10, 0, -1))
_ENOUGH = 30  # clips that must be as long as a point says


@dataclass(frozen=True)
class Unheard:
    """Verdicts on clips whose speakers the model was not trained on.

    Attributes:
        logits: ``(clips, labels)`` after the whole clip.
        heard: ``(clips, len(HEARD_S), labels)`` after its first seconds of speech, NaN where
            it is shorter.
        truth: ``(clips,)`` indices of labels.
        group: ``(clips,)`` what a clip shares with others that must not judge it: its fold or
            its speaker.
    """

    logits: NDArray[np.floating[Any]]
    heard: NDArray[np.floating[Any]]
    truth: NDArray[np.int64]
    group: NDArray[np.int64]


def after_seconds(
    logits: Sequence[NDArray[np.floating[Any]]], begins: Sequence[int], step_frames: int
) -> NDArray[np.float32]:
    """What was said of each clip after ``HEARD_S`` seconds of its speech.

    Args:
        logits: ``(steps, labels)`` of every step of each clip.
        begins: frame of 10 ms at which its speech begins.

    Returns:
        ``(clips, len(HEARD_S), labels) float32``, NaN where a clip is shorter.
    """
    found = np.full((len(logits), len(HEARD_S), logits[0].shape[1]), np.nan, np.float32)
    for row, (steps, begin) in enumerate(zip(logits, begins, strict=True)):
        for column, seconds in enumerate(HEARD_S):
            step = -(-(begin + round(100 * seconds)) // step_frames) - 1
            if step < len(steps):
                found[row, column] = steps[step]
    return found


def calibrate(unheard: Unheard, source: str) -> Calibration:
    """Temperatures, the threshold and what they are worth.

    What is stored is fitted on all clips. Every figure of the result comes from temperatures
    fitted without the clip's own group (``ece_before`` from none), so it speaks for people that
    nobody has heard; with one group only it cannot, and ``source`` says so.

    Args:
        source: what was measured on, for the pack.
    """
    if len(np.unique(unheard.group)) < 2:
        source += " (fitted and judged on the same clips)"
    final = fit_temperature(unheard.logits, unheard.truth, source)
    honest = cross_calibrated(unheard.logits, unheard.truth, unheard.group)
    heard = [
        point
        for index, seconds in enumerate(HEARD_S)
        if (point := _heard_point(unheard, index, seconds)) is not None
    ]
    return replace(
        final,
        ece_after=round(expected_calibration_error(unheard.truth, honest), 4),
        heard=tuple(heard),
        risk_coverage=risk_coverage(honest, unheard.truth),
        reliability=tuple(
            ReliabilityBin(round(confidence, 4), round(accuracy, 4), n)
            for confidence, accuracy, n in reliability(unheard.truth, honest)
        ),
    )


def cross_calibrated(
    logits: NDArray[np.floating[Any]],
    truth: NDArray[np.int64],
    group: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Probabilities ``(clips, labels)``, each under a temperature of the other groups."""
    groups = np.unique(group)
    chances = np.empty(logits.shape, np.float64)
    for held in groups:
        mine = group == held
        others = ~mine if len(groups) > 1 else mine
        fitted = fit_temperature(logits[others], truth[others], "")
        chances[mine] = softmax(logits[mine] / fitted.temperature)
    return chances


def risk_coverage(
    probabilities: NDArray[np.float64], truth: NDArray[np.int64]
) -> tuple[CoveragePoint, ...]:
    """Accuracy of the surest clips, for all of them down to a tenth."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    order = np.argsort(-confidence, kind="stable")
    points = []
    for coverage in _COVERAGES:
        kept = order[: max(1, round(coverage * len(order)))]
        threshold = 0.0 if coverage == 1.0 else float(confidence[kept[-1]])
        points.append(
            CoveragePoint(round(threshold, 4), coverage, round(float(right[kept].mean()), 4))
        )
    return tuple(points)


def _heard_point(unheard: Unheard, index: int, seconds: float) -> HeardPoint | None:
    long = np.isfinite(unheard.heard[:, index, 0])
    if long.sum() < _ENOUGH:
        return None
    logits, truth = unheard.heard[long, index], unheard.truth[long]
    group = unheard.group[long]
    whole = fit_temperature(unheard.logits, unheard.truth, "").temperature
    own = cross_calibrated(logits, truth, group)
    return HeardPoint(
        heard_s=seconds,
        n=len(truth),
        accuracy=round(float(np.mean(logits.argmax(axis=1) == truth)), 4),
        temperature=fit_temperature(logits, truth, "").temperature,
        ece_before=round(expected_calibration_error(truth, softmax(logits / whole)), 4),
        ece_after=round(expected_calibration_error(truth, own), 4),
    )


def fit_temperature(
    logits: NDArray[np.floating[Any]],
    true: Sequence[int] | NDArray[np.int64],
    source: str,
    abstain_share: float = _ABSTAIN_SHARE,
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
