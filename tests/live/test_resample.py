from __future__ import annotations

import numpy as np
import pytest

from edge_ser.errors import UsageError
from edge_ser.runtime.resample import LiveResampler

RATES = [48000, 44100, 22050, 8000, 96000]


def tone(hz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate).astype(np.float32)


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_keeps_its_level_and_is_hardly_delayed(rate: int) -> None:
    for hz in (200, 1000, 3000):
        out = LiveResampler(rate, 16000).push(tone(hz, rate))[4000:12000]
        turning = np.exp(-2j * np.pi * hz / 16000 * np.arange(4000, 12000))
        swing = 2j * np.mean(out * turning)  # of what was a sine of 1
        assert abs(swing) == pytest.approx(1, abs=0.02)
        delay_ms = -1000 * np.angle(swing) / (2 * np.pi * hz)
        assert abs(delay_ms) < 0.3
        rest = out - np.imag(swing * np.conj(turning))
        assert np.abs(rest).max() < 2e-3, "nothing else is in it"


@pytest.mark.parametrize("rate", RATES)
def test_nothing_is_held_back(rate: int) -> None:
    resampler = LiveResampler(rate, 16000)
    given = heard = 0
    for size in [1, 7, 160, 441, 480, 3, 1000, 0, 2]:
        given += size
        heard += len(resampler.push(np.zeros(size, np.float32)))
        assert heard == -(-given * 16000 // rate), "every output before the next input"


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("size", [1, 37, 441, 5000])
def test_chunks_do_not_matter(rate: int, size: int) -> None:
    noise = np.random.default_rng(0).standard_normal(rate // 4).astype(np.float32)
    whole = LiveResampler(rate, 16000).push(noise)
    resampler = LiveResampler(rate, 16000)
    parts = [resampler.push(noise[i : i + size]) for i in range(0, len(noise), size)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


def test_what_the_lower_rate_cannot_hold_is_gone() -> None:
    for hz in (8500, 10_000, 15_000, 20_000):
        for rate in (48000, 44100):
            out = LiveResampler(rate, 16000).push(tone(hz, rate))
            assert 20 * np.log10(np.abs(out[400:]).max()) < -60, f"{hz} Hz folds back"
    assert np.abs(LiveResampler(48000, 16000).push(tone(6500, 48000))[200:]).max() > 0.97


def test_equal_rates_pass_untouched() -> None:
    samples = tone(100, 16000)
    assert LiveResampler(16000, 16000).push(samples) is samples


def test_rates_without_a_small_ratio_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot be resampled"):
        LiveResampler(1_000_003, 999_983)
