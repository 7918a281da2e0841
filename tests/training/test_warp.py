"""Another vocal tract: formants move by the factor, time and level stay."""

from __future__ import annotations

import numpy as np
import pytest

from edge_ser.frontend import LogMel, LogMelSpec
from edge_ser.frontend.spec import mel_centres_hz, mel_filterbank
from edge_ser.training.warp import VocalTractWarp

SPEC = LogMelSpec()
CENTRES_HZ = mel_centres_hz(SPEC)


def tone(hz: float) -> np.ndarray:
    time = np.arange(SPEC.rate_hz) / SPEC.rate_hz
    samples = 0.3 * np.sin(2 * np.pi * hz * time).astype(np.float32)
    return LogMel(SPEC).clip(samples).astype(np.float32)


def test_centres_are_where_the_filters_peak() -> None:
    bins_hz = np.arange(SPEC.n_fft // 2 + 1) * SPEC.rate_hz / SPEC.n_fft
    wide = slice(30, None)  # low bands are narrower than the bins are apart
    peaks = bins_hz[mel_filterbank(SPEC).argmax(axis=1)]
    assert np.abs(peaks - CENTRES_HZ)[wide].max() < SPEC.rate_hz / SPEC.n_fft
    assert (np.diff(CENTRES_HZ) > 0).all()


@pytest.mark.parametrize("factor", [0.88, 1.0, 1.12])
def test_a_tone_moves_by_the_factor(factor: float) -> None:
    warped = VocalTractWarp(SPEC, 0.2).by(tone(1500.0), factor)
    loudest = CENTRES_HZ[warped.mean(axis=1).argmax()]
    assert loudest == pytest.approx(1500.0 / factor, rel=0.04)


def test_nothing_moves_in_time_and_no_value_is_invented() -> None:
    rng = np.random.default_rng(0)
    mel = rng.normal(-5.0, 2.0, (SPEC.n_mels, 40)).astype(np.float32)
    warp = VocalTractWarp(SPEC, 0.2)
    np.testing.assert_array_equal(warp.by(mel, 1.0), mel)
    assert VocalTractWarp(SPEC, 0.0)(mel, rng) is mel
    step = np.where(np.arange(40) < 20, -8.0, -2.0).astype(np.float32)[None].repeat(64, 0)
    np.testing.assert_allclose(warp.by(step, 1.15), step, atol=1e-5)
    drawn = [warp(mel, rng) for _ in range(3)]
    assert not np.array_equal(drawn[0], drawn[1])
    for other in drawn:
        assert other.shape == mel.shape
        assert other.min() >= mel.min()
        assert other.max() <= mel.max()


def test_a_spread_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="spread"):
        VocalTractWarp(SPEC, 1.0)
