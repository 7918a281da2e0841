"""What the pooled figures of deployed folds say of confidence, and of folds that are missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the converter needs torch")
pytest.importorskip("onnx", reason="the converter needs onnx")

from benchmarks.crossval import _confidence, _resampled, _which
from edge_ser.corpora import Clip

LABELS = ("anger", "neutral")


def rows(corpus: str, sure: float, right: float) -> list[tuple[int, Clip, dict[str, float]]]:
    """400 clips in four folds, called anger with one confidence, right at one rate."""
    truth = np.where((np.arange(400) * 7) % 100 < round(100 * right), "anger", "neutral")
    return [
        (i % 4, Clip(Path(f"{i}"), corpus, f"{corpus}:{i % 8}", str(label), ""), found)
        for i, label in enumerate(truth)
        for found in [{"anger": sure, "neutral": 1 - sure}]
    ]


def test_two_corpora_whose_errors_cancel_are_told_apart() -> None:
    found = _confidence([*rows("emodb", 0.8, 0.7), *rows("ravdess", 0.8, 0.9)], LABELS)
    assert found["ece_after"] < 0.04
    assert found["corpora"]["emodb"]["too_sure_by"] == pytest.approx(0.1, abs=0.02)
    assert found["corpora"]["ravdess"]["too_sure_by"] == pytest.approx(-0.1, abs=0.02)
    for name in ("emodb", "ravdess"):
        assert found["corpora"][name]["ece_after"] == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["fold0", "fold1", "fold2"], "3-fold"),
        (["fold0", "fold2"], "folds 0, 2 only,"),
        (["foldemodb", "foldtess"], "2-fold"),
    ],
)
def test_a_missing_fold_is_no_smaller_cross_validation(names: list[str], told: str) -> None:
    assert _which([Path("run") / name / "checkpoint.safetensors" for name in names]) == told


def test_what_other_speakers_would_change() -> None:
    speakers = [f"s{i // 40}" for i in range(400)]
    truth = [i % 2 for i in range(400)]
    found = np.array(truth)
    assert _resampled(speakers, truth, found, LABELS) == [1.0, 1.0]
    found[:200] = 0  # of half of the speakers, one label of two is never found: 0.5 of 1
    low, high = _resampled(speakers, truth, found, LABELS)
    # Ten draws at even odds have between 2 and 8 of either kind, 19 times in 20.
    assert (low, high) == (pytest.approx(0.6), pytest.approx(0.9))
