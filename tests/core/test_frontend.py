"""The front end against kaldi-native-fbank, and the promises of its level follower."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making.speech import speech
from numpy.typing import NDArray

from edge_ser.frontend import LogMel, LogMelSpec, mel_filterbank

SPEC = LogMelSpec()
SPECS = [
    SPEC,
    LogMelSpec(n_mels=40, low_hz=20.0, high_hz=8000.0, step_frames=4),
    LogMelSpec(window=512, hop=256, n_mels=80, high_hz=7000.0),
    LogMelSpec(rate_hz=8000, window=200, hop=80, n_fft=256, n_mels=32, high_hz=3800.0),
]


def mel_power(samples: NDArray[np.float32], spec: LogMelSpec) -> NDArray[np.float32]:
    """Mel power of every frame of a clip, ``(n_mels, frames)``, without level or logarithm."""
    padded = np.concatenate([np.zeros(spec.history, np.float32), samples])
    n_frames = len(samples) // spec.hop
    windows = np.stack([padded[t * spec.hop :][: spec.window] for t in range(n_frames)])
    return LogMel(spec).mel_power(windows)


@pytest.mark.parametrize("spec", SPECS)
def test_mel_power_is_that_of_kaldi_native_fbank(spec: LogMelSpec) -> None:
    knf = pytest.importorskip("kaldi_native_fbank", reason="the reference is not installed")
    samples = speech(2.0, seed=3, rate_hz=spec.rate_hz)
    options = knf.FbankOptions()
    frame, mel = options.frame_opts, options.mel_opts
    frame.samp_freq = spec.rate_hz
    frame.dither = 0.0
    frame.preemph_coeff = 0.0
    frame.remove_dc_offset = False
    frame.window_type = "hanning"
    frame.snip_edges = True
    frame.frame_length_ms = 1000.0 * spec.window / spec.rate_hz
    frame.frame_shift_ms = 1000.0 * spec.hop / spec.rate_hz
    mel.num_bins, mel.low_freq, mel.high_freq = spec.n_mels, spec.low_hz, spec.high_hz
    options.use_power, options.use_log_fbank, options.use_energy = True, False, False
    reference = knf.OnlineFbank(options)
    padded = np.concatenate([np.zeros(spec.history, np.float32), samples])
    reference.accept_waveform(spec.rate_hz, padded.tolist())
    reference.input_finished()
    theirs = np.stack([reference.get_frame(t) for t in range(reference.num_frames_ready)], axis=1)

    ours = mel_power(samples, spec)

    assert ours.shape == theirs.shape
    # Both are single precision; a band far below the loudest one of its frame carries the
    # rounding of the loud one.
    loudest = theirs.max(axis=0, keepdims=True)
    assert np.all(np.abs(ours - theirs) <= 2e-4 * theirs + 1e-6 * loudest + 1e-12)


def test_filters_are_triangles_that_cover_the_band_and_nothing_else() -> None:
    filters = mel_filterbank(SPEC)
    hertz = np.arange(filters.shape[1]) * SPEC.rate_hz / SPEC.n_fft
    assert filters.min() == 0.0
    assert filters.max() <= 1.0
    assert np.all(filters.sum(axis=1) > 0), "a filter without a bin would always say silence"
    outside = (hertz <= SPEC.low_hz) | (hertz >= SPEC.high_hz)
    assert not filters[:, outside].any()


@pytest.mark.parametrize("spec", SPECS[:2])
def test_frames_are_the_logarithm_of_levelled_mel_power(spec: LogMelSpec) -> None:
    samples = speech(1.6, seed=1)
    power = mel_power(samples, spec).astype(np.float64)
    level, expected = spec.level_floor, []
    for start in range(0, power.shape[1], spec.step_frames):
        step = power[:, start : start + spec.step_frames]
        level = max(level * spec.level_keep, step.mean(), spec.level_floor)
        expected.append(np.log(step / level + spec.floor))
    frames = LogMel(spec).clip(samples)
    np.testing.assert_allclose(frames, np.concatenate(expected, axis=1), atol=2e-3)


@given(cuts=st.lists(st.integers(0, 40), max_size=8), seed=st.integers(0, 5))
def test_streaming_equals_whole_clip(cuts: list[int], seed: int) -> None:
    samples = speech(40 * SPEC.step_ms / 1000, seed)
    front_end = LogMel()
    whole = front_end.clip(samples)
    # Two clips through one reset stream, and another stream in between, change nothing.
    stream, other = front_end.stream(), front_end.stream()
    out = np.empty((SPEC.n_mels, SPEC.step_frames), np.float32)
    stream.step(np.full(SPEC.step_samples, 0.7, np.float32), out)
    stream.reset()
    for step in range(40):
        part = samples[step * SPEC.step_samples :][: SPEC.step_samples]
        stream.step(part, out)
        columns = slice(step * SPEC.step_frames, (step + 1) * SPEC.step_frames)
        assert np.array_equal(out, whole[:, columns])
        if step in cuts:
            other.step(part[::-1].copy(), np.empty_like(out))


def test_no_frame_sees_the_future() -> None:
    samples = speech(1.6)
    changed = samples.copy()
    changed[SPEC.step_samples * 10 :] = 0.3
    first, second = LogMel().clip(samples), LogMel().clip(changed)
    known = SPEC.step_frames * 10
    assert np.array_equal(first[:, :known], second[:, :known])
    assert not np.array_equal(first[:, known:], second[:, known:])


@pytest.mark.parametrize("n", [0, 1, 1279, 1280, 1281, 40000])
def test_a_clip_has_whole_steps(n: int) -> None:
    frames = LogMel().clip(speech(3.0)[:n])
    assert frames.shape == (SPEC.n_mels, -(-n // SPEC.step_samples) * SPEC.step_frames)
    assert np.isfinite(frames).all()


def test_digital_silence_has_the_value_that_the_spec_says() -> None:
    frames = LogMel().clip(np.zeros(16000, np.float32))
    np.testing.assert_allclose(frames, SPEC.silence, rtol=1e-6)
    assert pytest.approx(np.log(SPEC.floor), rel=1e-6) == SPEC.silence


@settings(max_examples=20)
@given(gain=st.floats(0.1, 10.0), seed=st.integers(0, 3))
def test_gain_changes_nothing_once_there_is_sound(gain: float, seed: int) -> None:
    samples = speech(1.6, seed) + np.float32(1e-3)
    quiet, loud = LogMel().clip(samples), LogMel().clip(samples * np.float32(gain))
    stream, steps = LogMel().stream(), []
    out = np.empty((SPEC.n_mels, SPEC.step_frames), np.float32)
    for step in range(20):
        stream.step(samples[step * SPEC.step_samples :][: SPEC.step_samples], out)
        steps.append(min(1.0, gain**2) * stream.level > SPEC.level_floor)
    audible = np.repeat(steps, SPEC.step_frames)
    assert audible.mean() > 0.8
    np.testing.assert_allclose(quiet[:, audible], loud[:, audible], atol=2e-3)


def test_level_rises_at_once_and_falls_by_so_many_decibels_a_second() -> None:
    stream = LogMel().stream()
    out = np.empty((SPEC.n_mels, SPEC.step_frames), np.float32)
    samples = speech(1.0)
    loudest = int(np.abs(samples[: -SPEC.step_samples]).argmax())
    stream.step(samples[loudest : loudest + SPEC.step_samples], out)
    loud = stream.level
    assert loud > 100 * SPEC.level_floor
    silence = np.zeros(SPEC.step_samples, np.float32)
    stream.step(silence, out)  # still overlaps the sound
    start = stream.level
    n_steps = 50
    for _ in range(n_steps):
        stream.step(silence, out)
    fallen_db = 10 * np.log10(start / stream.level)
    seconds = n_steps * SPEC.step_ms / 1000
    assert fallen_db == pytest.approx(SPEC.level_decay_db * seconds, rel=1e-4)
    for _ in range(3000):
        stream.step(silence, out)
    assert stream.level == SPEC.level_floor


@pytest.mark.parametrize(
    "wrong",
    [
        {"hop": 0},
        {"hop": 401},
        {"window": 600},
        {"low_hz": -1.0},
        {"low_hz": 8000.0},
        {"high_hz": 8001.0},
        {"n_mels": 0},
        {"step_frames": 0},
        {"floor": 0.0},
        {"floor": float("nan")},
        {"level_floor": -1.0},
        {"level_floor": float("inf")},
        {"level_decay_db": -0.1},
        {"high_hz": float("nan")},
        {"window": 400.5},
        {"n_mels": True},
        {"rate_hz": "16000"},
        {"n_mels": 100_000},
        {"n_fft": 2**30},
        {"step_frames": 10**9},
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"need|should be"):
        LogMelSpec.from_dict({**SPEC.to_dict(), **wrong})


def test_a_spec_survives_its_own_json_and_nothing_else() -> None:
    for spec in SPECS:
        assert LogMelSpec.from_dict(spec.to_dict()) == spec
    with pytest.raises(ValueError, match="'dither'"):
        LogMelSpec.from_dict({**SPEC.to_dict(), "dither": 1.0})
    incomplete = SPEC.to_dict()
    del incomplete["hop"]
    with pytest.raises(ValueError, match="'hop'"):
        LogMelSpec.from_dict(incomplete)


def test_derived_figures() -> None:
    assert SPEC.history == 240
    assert SPEC.step_samples == 1280
    assert SPEC.step_ms == 80.0
