"""Temperatures by seconds heard, abstention curves, and how a pack keeps them."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

pytest.importorskip("onnx", reason="calibration needs onnx")

from edge_ser.calibration.confidence import (
    HEARD_S,
    Unheard,
    after_seconds,
    calibrate,
    risk_coverage,
)
from edge_ser.pack import Calibration, HeardPoint, read_calibration


def unheard(n: int = 400, overconfident: float = 3.0) -> Unheard:
    """Logits that are right in the sense of probability, then sharpened; early ones more so."""
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(n, 4))
    chances = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    truth = np.array([rng.choice(4, p=row) for row in chances])
    heard = np.stack([honest * overconfident * 2] * len(HEARD_S), axis=1)
    heard[: n // 2, -1] = np.nan
    return Unheard(honest * overconfident, heard, truth, np.arange(n) % 4)


def test_early_verdicts_get_the_temperature_that_they_need() -> None:
    found = calibrate(unheard(), "made up")
    assert found.temperature == pytest.approx(3.0, rel=0.25)
    assert [point.heard_s for point in found.heard] == list(HEARD_S)
    assert found.heard[0].temperature == pytest.approx(6.0, rel=0.25)
    assert found.heard[-1].n == 200
    assert all(point.ece_after < point.ece_before for point in found.heard)
    assert found.ece_after is not None
    assert found.ece_before is not None
    assert found.ece_after < found.ece_before


def test_the_surer_the_fewer_and_the_more_often_right() -> None:
    points = calibrate(unheard(), "made up").risk_coverage
    assert [point.coverage for point in points] == sorted(
        (p.coverage for p in points), reverse=True
    )
    assert points[0].abstain_below == 0.0
    thresholds = [point.abstain_below for point in points]
    assert thresholds == sorted(thresholds)
    assert points[-1].accuracy > points[0].accuracy + 0.1


def test_thresholds_keep_the_share_that_they_promise() -> None:
    data = unheard()
    chances = np.exp(data.logits) / np.exp(data.logits).sum(axis=1, keepdims=True)
    for point in risk_coverage(chances, data.truth):
        kept = chances.max(axis=1) >= point.abstain_below - 1e-4
        assert kept.mean() == pytest.approx(point.coverage, abs=0.02)


def test_the_calibration_of_one_group_says_so() -> None:
    data = unheard()
    alone = Unheard(data.logits, data.heard, data.truth, np.zeros(400, np.int64))
    assert "same clips" in calibrate(alone, "made up").source


def test_seconds_count_from_the_begin_of_speech() -> None:
    steps = np.arange(50, dtype=np.float32)[:, None].repeat(2, axis=1)
    found = after_seconds([steps], [16], 8)
    # 0.5 s after frame 16 ends in frame 66, that is in the ninth step.
    assert found[0, 0, 0] == 8
    assert found[0, 1, 0] == 14
    assert np.isfinite(found[0, :-1]).all()
    assert np.isnan(after_seconds([steps[:20]], [16], 8)[0, -1]).all()


def test_a_pack_reads_what_was_written() -> None:
    found = calibrate(unheard(), "made up")
    stored = asdict(found)
    for key in ("heard", "risk_coverage", "reliability"):
        stored[key] = list(stored[key])
    assert read_calibration(stored) == found
    with pytest.raises(ValueError, match="unknown key"):
        read_calibration({**stored, "more": 1})


def test_temperature_changes_evenly_and_ends_at_the_whole_one() -> None:
    points = tuple(HeardPoint(s, 50, 0.5, t, 0.1, 0.05) for s, t in ((0.5, 2.0), (1.0, 1.0)))
    calibration = Calibration(temperature=0.8, heard=points)
    assert calibration.temperature_after(0.1) == 2.0
    assert calibration.temperature_after(0.75) == pytest.approx(1.5)
    assert calibration.temperature_after(4.0) == 0.8
    steps = calibration.step_temperatures(0.25)
    assert steps == pytest.approx([2.0, 2.0, 1.5, 1.0, 0.8])
    assert Calibration(temperature=0.8).step_temperatures(0.08) == [0.8]


def test_points_must_rise() -> None:
    point = HeardPoint(1.0, 50, 0.5, 1.0, 0.1, 0.1)
    with pytest.raises(ValueError, match="rise"):
        Calibration(heard=(point, point))
