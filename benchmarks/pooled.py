"""Figures of a cross-validation, pooled over the test clips of its folds, and their table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.calibration.confidence import cross_calibrated, softmax
from edge_ser.corpora import Clip
from edge_ser.metrics import score

__all__ = ["pooled_figures", "show"]

_RESAMPLES = 10_000
_FEWEST_SPEAKERS = 5


def pooled_figures(
    rows: list[tuple[int, Clip, dict[str, float]]],
    labels: tuple[str, ...],
    protocol: str,
    precision: str,
) -> dict[str, Any]:
    """What a model card and ``show`` tell of one precision.

    Args:
        rows: of each test clip its fold, itself, and the probabilities of ``labels``.
        protocol: in words.
        precision: in words.
    """
    corpora: dict[str, Any] = {}
    for corpus in sorted({clip.corpus for _, clip, _ in rows}):
        part = [row for row in rows if row[1].corpus == corpus]
        truth = [labels.index(clip.label) for _, clip, _ in part]
        chances = np.array([[found[label] for label in labels] for _, _, found in part])
        per_fold = [
            score(
                [t for t, row in zip(truth, part, strict=True) if row[0] == fold],
                chances[[row[0] == fold for row in part]],
                labels,
            ).uar
            for fold in sorted({row[0] for row in part})
        ]
        corpora[corpus] = {
            **score(truth, chances, labels).to_dict(),
            "speakers": len({clip.speaker for _, clip, _ in part}),
            "uar_of_folds": [round(value, 4) for value in per_fold],
            "uar_of_other_speakers": _resampled(
                [clip.speaker for _, clip, _ in part], truth, chances.argmax(axis=1), labels
            ),
        }
    return {
        "protocol": protocol,
        "precision": precision,
        "labels": list(labels),
        "corpora": corpora,
        "confidence": _confidence(rows, labels),
    }


def _resampled(
    speakers: list[str], truth: list[int], found: NDArray[np.int64], labels: tuple[str, ...]
) -> list[float] | None:
    """Between what 95 % of the UARs lie when the speakers are drawn anew, with replacement.

    The trained models stay as they are. None with fewer than five speakers, of whom a sample says
    little, or where a label is of fewer than two, whom some draws would lack.
    """
    names = sorted(set(speakers))
    of_label = [{s for s, t in zip(speakers, truth, strict=True) if t == k} for k in set(truth)]
    if len(names) < _FEWEST_SPEAKERS or min(map(len, of_label)) < 2:
        return None
    heard, right = np.zeros((2, len(names), len(labels)))
    rows = [names.index(speaker) for speaker in speakers]
    np.add.at(heard, (rows, truth), 1)
    np.add.at(right, (rows, truth), found == truth)
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=_RESAMPLES)
    with np.errstate(invalid="ignore"):
        uar = np.nanmean(drawn @ right / (drawn @ heard), axis=1)
    return [round(float(edge), 4) for edge in np.quantile(uar, (0.025, 0.975))]


def _confidence(
    rows: list[tuple[int, Clip, dict[str, float]]], labels: tuple[str, ...]
) -> dict[str, Any]:
    """Calibration found on all folds but one and judged on that one.

    Two corpora, too sure of one and too unsure of the other, look well calibrated together, so
    each is told alone as well.
    """
    truth = np.array([labels.index(clip.label) for _, clip, _ in rows])
    logits = np.log(np.array([[max(f[label], 1e-9) for label in labels] for _, _, f in rows]))
    fold = np.array([index for index, _, _ in rows])
    chances = cross_calibrated(logits, truth, fold)
    right = chances.argmax(axis=1) == truth
    sure = np.argsort(-chances.max(axis=1))[: round(0.8 * len(right))]
    corpus = np.array([clip.corpus for _, clip, _ in rows])
    return {
        "ece_before": round(score(truth, softmax(logits), labels).ece, 4),
        "ece_after": round(score(truth, chances, labels).ece, 4),
        "accuracy": round(float(right.mean()), 4),
        "accuracy_of_surest_80_percent": round(float(right[sure].mean()), 4),
        "corpora": {
            name: {
                "ece_after": round(score(truth[part], chances[part], labels).ece, 4),
                "too_sure_by": round(float((chances[part].max(axis=1) - right[part]).mean()), 4),
            }
            for name in sorted({clip.corpus for _, clip, _ in rows})
            for part in [corpus == name]
        },
    }


def show(report: dict[str, Any]) -> None:
    """The table for people."""
    whole, real = report["cross_validation"], report["cross_validation_float"]
    print(f"{whole['protocol']}, final events of the streaming model")
    print("corpus    clips  speakers   UAR INT8  UAR float  accuracy INT8  UAR of folds, INT8")
    for name, figures in whole["corpora"].items():
        print(
            f"{name:<9} {figures['n']:5d} {figures['speakers']:9d} {figures['uar']:10.3f} "
            f"{real['corpora'][name]['uar']:10.3f} {figures['accuracy']:14.3f}  "
            + " ".join(f"{value:.3f}" for value in figures["uar_of_folds"])
        )
        if figures["uar_of_other_speakers"]:
            low, high = figures["uar_of_other_speakers"]
            print(f"{'':9} of other speakers, by resampling these, 95 %: {low:.3f} to {high:.3f}")
    confidence = whole["confidence"]
    print(f"label agreement INT8/float {report['label_agreement']:.1%}")
    print(
        f"ECE {confidence['ece_before']:.3f} as converted, {confidence['ece_after']:.3f} "
        "calibrated on the other folds; "
        f"accuracy {confidence['accuracy']:.3f}, of the surest 80 % "
        f"{confidence['accuracy_of_surest_80_percent']:.3f}"
    )
    for name, figures in confidence["corpora"].items():
        print(
            f"ECE of {name} {figures['ece_after']:.3f}; its mean confidence less its accuracy "
            f"{figures['too_sure_by']:+.3f}"
        )
