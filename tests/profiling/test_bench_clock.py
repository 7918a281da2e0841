"""Benchmarks by a clock that stands still or is set back, and audio shorter than a sample."""

from __future__ import annotations

import sys
import time
import wave
from pathlib import Path

import numpy as np
import pytest

from edge_ser.audio import load_mono
from edge_ser.errors import EdgeSerError, InputError
from edge_ser.runtime import Recognizer
from edge_ser.runtime.bench import bench_audio, offline, single_stream
from edge_ser.runtime.bench import single as single_module
from edge_ser.runtime.bench.compare import Side, compare
from edge_ser.runtime.bench.report.figures import distribution, timeline
from edge_ser.runtime.bench.summary import milliseconds


class _Clock:
    """``time`` of which the monotonic clock says what the test wants."""

    def __init__(self, readings) -> None:
        self.perf_counter_ns = lambda: next(readings)
        self.process_time_ns, self.sleep = time.process_time_ns, time.sleep


def still():
    while True:
        yield 7


def back():
    now = 10**12
    while True:
        yield (now := now - 10**9)


@pytest.fixture(scope="module")
def recognizer(pack_path):
    return Recognizer.open(pack_path)


@pytest.mark.parametrize("readings", [still, back])
def test_a_step_takes_no_time_rather_than_less(monkeypatch, recognizer, voice, readings):
    monkeypatch.setattr(single_module, "time", _Clock(readings()))
    times = single_stream(recognizer, voice[: 1280 * 8], warmup_steps=1)
    for values in (times.step_ns, *times.stage_ns.values()):
        assert (values >= 0).all()
    assert times.wall_ns >= 0
    latency = milliseconds(times.step_ns)
    for drawing in (distribution(times, latency), timeline(times)):
        assert drawing.startswith("<svg")


@pytest.mark.parametrize("readings", [still, back])
def test_offline_by_such_a_clock_has_nothing_to_tell(monkeypatch, recognizer, voice, readings):
    monkeypatch.setattr(sys.modules[offline.__module__], "time", _Clock(readings()))
    with pytest.raises(EdgeSerError, match="stood still or went back"):
        offline(recognizer, voice)


@pytest.mark.parametrize("readings", [still, back])
def test_a_comparison_by_such_a_clock_has_no_verdict(monkeypatch, pack_path, voice_wav, readings):
    monkeypatch.setattr(sys.modules[compare.__module__], "time", _Clock(readings()))
    with pytest.raises(EdgeSerError, match="stood still or went back"):
        compare(
            Side(pack_path), Side(pack_path, threads=2), audio_file=voice_wav, seconds=2,
            warmup_steps=0, block_steps=2,
        )  # fmt: skip


def test_a_jump_of_an_hour_is_drawn(recognizer, voice):
    times = single_stream(recognizer, voice, warmup_steps=1)
    times.step_ns[3], times.step_ns[5] = 0, 3600 * 10**9
    assert "3.6e+06 ms" in distribution(times, milliseconds(times.step_ns))
    timeline(times)


def test_a_clip_of_which_resampling_leaves_nothing(tmp_path: Path):
    pytest.importorskip("soxr", reason="needs the audio extra")
    path = tmp_path / "one.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48000)
        file.writeframes(np.array([9], np.int16).tobytes())
    for read in (bench_audio, load_mono):
        with pytest.raises(InputError, match="1 samples are too short"):
            read(path, 16000)
