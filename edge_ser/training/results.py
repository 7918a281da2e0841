"""What a cross-validation found: scores per fold and pooled, and the confidence to expect."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.calibration.confidence import HEARD_S, Unheard, calibrate, softmax
from edge_ser.corpora import Fold
from edge_ser.metrics import Scores, score

__all__ = ["FoldResult", "calibration_of", "summarise"]


@dataclass(frozen=True)
class FoldResult:
    """Predictions on the test clips of one fold.

    Attributes:
        logits: ``(clips, labels)`` after the last step of each test clip.
        epoch: whose weights were kept.
        heard: ``(clips, len(HEARD_S), labels)`` after its first seconds of speech, NaN where
            a clip is shorter; None of a model that hears whole clips only.
        parts: logits of each part of an ensemble, by name.
        train_accuracy: of the network on the clips that it learnt from, where it was asked: low
            means that it learnt too little, far above the test that it learnt by heart.
    """

    fold: Fold
    logits: NDArray[np.float32]
    epoch: int
    heard: NDArray[np.float32] | None = None
    parts: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    train_accuracy: float | None = None


def summarise(results: Sequence[FoldResult], labels: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Scores per fold and corpus, their mean and deviation, and the pooled scores.

    The deviation is that of the folds themselves (divided by their number, not by one less).
    The pooled UAR counts every test clip of the cross-validation once. With at least two
    folds the temperature of the probabilities is found on all folds but one and judged on
    the one left out, so ``ece_after`` speaks for unseen speakers where the protocol does.
    """
    report: dict[str, Any] = {
        "protocol": results[0].fold.protocol,
        "seed": seed,
        "labels": list(labels),
        "corpora": {},
    }
    for corpus in sorted({clip.corpus for result in results for clip in result.fold.test}):
        per_fold, truths, logits = [], [], []
        parts: dict[str, list[dict[str, float]]] = {}
        for result in results:
            rows = [i for i, clip in enumerate(result.fold.test) if clip.corpus == corpus]
            if not rows:
                continue  # each corpus is tested in a fold of its own where corpora are held out
            truth = [labels.index(result.fold.test[i].label) for i in rows]
            truths += truth
            logits.append(result.logits[rows])
            scores = score(truth, softmax(result.logits[rows]), labels)
            learnt = {} if result.train_accuracy is None else {_LEARNT: result.train_accuracy}
            per_fold.append(
                {"fold": result.fold.index, "epoch": result.epoch, **_brief(scores), **learnt}
            )
            for name, guesses in result.parts.items():
                alone = score(truth, softmax(guesses[rows]), labels)
                parts.setdefault(name, []).append(_brief(alone))
        pooled = score(truths, softmax(np.concatenate(logits)), labels)
        report["corpora"][corpus] = {
            "folds": per_fold,
            "mean": {key: statistics.fmean(f[key] for f in per_fold) for key in _KEYS},
            "sd": {key: statistics.pstdev([f[key] for f in per_fold]) for key in _KEYS},
            "pooled": pooled.to_dict(),
        }
        if parts:
            report["corpora"][corpus]["parts"] = {
                name: {key: statistics.fmean(f[key] for f in folds) for key in _KEYS}
                for name, folds in parts.items()
            }
    if len(results) > 1:
        n = sum(len(result.fold.test) for result in results)
        protocol = results[0].fold.protocol
        whose = "speakers trained on too" if protocol == "random" else "speakers not trained on"
        report["calibration"] = calibration_of(
            results,
            labels,
            f"{len(results)}-fold {protocol} cross-validation, {n} clips of {whose}",
        )
    return report


_KEYS = ("accuracy", "uar", "macro_f1")
_LEARNT = "train_accuracy"


def _brief(scores: Scores) -> dict[str, float]:
    return {"n": scores.n, **{key: getattr(scores, key) for key in _KEYS}}


def calibration_of(
    results: Sequence[FoldResult], labels: tuple[str, ...], source: str
) -> dict[str, Any]:
    """The calibration that the test clips of ``results`` give, JSON-ready.

    Folds judge each other; a single one is judged speaker by speaker.
    """
    clips = [clip for result in results for clip in result.fold.test]
    speakers = sorted({clip.speaker for clip in clips})
    if len(results) > 1:
        group = [index for index, result in enumerate(results) for _ in result.fold.test]
    else:
        group = [speakers.index(clip.speaker) for clip in clips]
    unheard = Unheard(
        np.concatenate([result.logits for result in results]),
        np.concatenate([_heard(result, len(labels)) for result in results]),
        np.array([labels.index(clip.label) for clip in clips]),
        np.array(group),
    )
    return asdict(calibrate(unheard, source))


def _heard(result: FoldResult, n_labels: int) -> NDArray[np.float32]:
    if result.heard is not None:
        return result.heard
    return np.full((len(result.logits), len(HEARD_S), n_labels), np.nan, np.float32)
