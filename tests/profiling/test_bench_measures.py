from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_ser.errors import BackendError, EdgeSerError, InputError, UsageError
from edge_ser.runtime import Recognizer
from edge_ser.runtime.bench import (
    bench_audio,
    fingerprint,
    fresh_processes,
    multi_stream,
    offline,
    single_stream,
)
from edge_ser.runtime.bench.audio import BenchAudio, Repeated
from edge_ser.runtime.bench.compare import Side, compare
from edge_ser.runtime.bench.machine import resident_mb
from edge_ser.runtime.bench.multi import Trial
from edge_ser.runtime.bench.ratios import block_ratios, total_ratio
from edge_ser.runtime.bench.run import SCENARIOS, BenchSettings, bench
from edge_ser.runtime.bench.summary import milliseconds


@pytest.fixture(scope="module")
def recognizer(pack_path):
    return Recognizer.open(pack_path)


def test_percentiles_are_durations_that_were_measured():
    durations = np.random.default_rng(0).lognormal(12, 1, 997).astype(np.int64)
    result = milliseconds(durations)
    ordered = np.sort(durations)
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)):
        expected = ordered[int(np.ceil(share * len(ordered))) - 1]
        assert result[name] == round(expected / 1e6, 4)
    assert result["max"] == round(ordered[-1] / 1e6, 4)


def test_no_durations_are_refused():
    with pytest.raises(ValueError, match="no durations"):
        milliseconds(np.array([], np.int64))


def test_audio_repeats_from_a_place_that_the_seed_chooses(voice_wav):
    audio = bench_audio(voice_wav, 16000)
    n = 3 * len(audio.clip) + 17
    first = audio.take(n, seed=1)
    assert len(first) == n
    np.testing.assert_array_equal(first[: len(audio.clip)], first[len(audio.clip) :][:64000])
    np.testing.assert_array_equal(first, audio.take(n, seed=1))
    assert not np.array_equal(first, audio.take(n, seed=2))


def test_repeated_audio_is_what_is_taken_and_takes_no_memory(voice_wav):
    audio = bench_audio(voice_wav, 16000)
    wanted = audio.take(200_000, seed=3)
    tracemalloc.start()
    day = audio.repeated(24 * 3600 * 16000, seed=3)
    pieces = [day[i : i + 1280] for i in range(0, 200_000, 1280)]
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    assert len(day) == 24 * 3600 * 16000
    np.testing.assert_array_equal(np.concatenate(pieces)[:200_000], wanted)
    np.testing.assert_array_equal(day[5:150_000], wanted[5:150_000])  # longer than the clip
    assert len(day[-100:]) == 100
    assert len(day[len(day) :]) == 0


def test_no_part_of_a_bench_asks_for_all_its_audio_at_once(monkeypatch, pack_path, voice_wav):
    longest = 0

    def watched(self, piece):
        nonlocal longest
        taken = piece_of(self, piece)
        longest = max(longest, len(taken))
        return taken

    piece_of = Repeated.__getitem__
    monkeypatch.setattr(Repeated, "__getitem__", watched)
    monkeypatch.setattr(BenchAudio, "take", None)
    settings = BenchSettings(pack_path, audio=voice_wav, seconds=8, processes=0)
    document = bench(replace(settings, scenarios=("offline",))).document
    assert document["offline"]["audio_s"] == pytest.approx(8 + 50 * 0.08)
    compare(Side(pack_path), Side(pack_path, threads=2), audio_file=voice_wav, seconds=8)
    assert longest == 16_000


def test_silence_is_no_audio_to_bench_on(tmp_path: Path):
    import wave

    path = tmp_path / "silence.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(32000))
    with pytest.raises(InputError, match="silence"):
        bench_audio(path, 16000)


def test_every_step_after_the_warm_up_is_counted(recognizer, voice):
    times = single_stream(recognizer, voice, warmup_steps=7)
    assert len(times.step_ns) == len(voice) // 1280 - 7
    assert list(times.stage_ns) == ["capture", "frontend", "infer", "post", "publish"]
    inside = sum(times.stage_ns[name] for name in ("capture", "frontend", "infer", "post"))
    np.testing.assert_allclose(inside, times.step_ns, atol=2)  # rounding of milliseconds
    assert (times.step_ns > 0).all()
    assert times.age_ns is None


def test_a_paced_stream_takes_as_long_as_its_audio(recognizer, voice):
    times = single_stream(recognizer, voice[: 1280 * 6], warmup_steps=1, paced=True)
    assert times.wall_ns >= 5 * 80_000_000
    assert times.age_ns is not None
    assert (times.age_ns >= times.step_ns).all()


def test_misses_and_real_time_factor_follow_from_the_steps(recognizer, voice):
    times = single_stream(recognizer, voice, warmup_steps=0)
    slow = replace(times, step_ns=np.array([80_000_001, 80_000_000, 239_999_999], np.int64))
    assert slow.deadline_misses == 2
    assert slow.real_time_factor == pytest.approx(400 / 240)


def test_too_little_audio_says_how_much_is_needed(recognizer, voice):
    with pytest.raises(InputError, match=r"50 steps of warm-up .* need 4\.1 s"):
        single_stream(recognizer, voice[:16000])


def test_offline_takes_all_audio(recognizer, voice):
    done = offline(recognizer, voice)
    assert done.audio_s == pytest.approx(4.0)
    assert done.hours_per_minute == pytest.approx(4 / 3600 / (done.wall_s / 60))


class _Costly:
    """A group whose tick takes a known time of a clock that the test owns."""

    def __init__(self, clock, n_streams: int) -> None:
        self._clock, self._n = clock, n_streams

    def push(self, chunks) -> None:
        assert len(chunks) == self._n
        self._clock.now += self._n * self._clock.cost_ns


class _Clock:
    def __init__(self, cost_ns: int) -> None:
        self.now, self.cost_ns = 0, cost_ns

    def perf_counter_ns(self) -> int:
        return self.now


@pytest.mark.parametrize("cost_us", [370, 1_000, 90_000])
def test_the_search_finds_how_many_streams_fit(monkeypatch, recognizer, voice_wav, cost_us):
    clock = _Clock(cost_us * 1000)
    monkeypatch.setattr("edge_ser.runtime.bench.multi.time", clock)
    found = multi_stream(
        recognizer,
        bench_audio(voice_wav, 16000),
        ticks=4,
        make_group=lambda recognizer, n: _Costly(clock, n),
    )
    fits = 80_000 // cost_us
    assert fits * 0.94 <= found.streams <= fits
    assert len(found.trials) < 12
    json.dumps(found.to_dict())


def test_the_search_ends_at_the_most_that_is_asked_for(monkeypatch, recognizer, voice_wav):
    clock = _Clock(1)
    monkeypatch.setattr("edge_ser.runtime.bench.multi.time", clock)
    found = multi_stream(
        recognizer,
        bench_audio(voice_wav, 16000),
        ticks=2,
        make_group=lambda recognizer, n: _Costly(clock, n),
        most=100,
    )
    assert 94 <= found.streams <= 100


def test_streams_are_really_pushed(recognizer, voice_wav):
    found = multi_stream(recognizer, bench_audio(voice_wav, 16000), ticks=2, most=3)
    assert all(len(trial.tick_ns) >= 1 for trial in found.trials)
    assert all((trial.tick_ns > 0).all() for trial in found.trials)


def test_one_late_tick_of_a_hundred_is_held_and_two_are_not():
    ticks = np.full(100, 10, np.int64)
    ticks[0] = 200
    assert Trial(1, ticks, 100).held
    ticks[1] = 200
    assert not Trial(1, ticks, 100).held


def test_fresh_processes_tell_start_and_memory(pack_path):
    result = fresh_processes(pack_path, processes=1, seconds=1)
    assert 0 < result.package_import_ms[0] < result.import_ms[0] < result.cold_start_ms[0]
    assert result.rss_mb is not None
    assert result.rss_mb[0] > 5
    assert result.medians()["import_ms"] == result.import_ms[0]


def test_a_fresh_process_that_fails_says_why(tmp_path):
    with pytest.raises(EdgeSerError, match="no pack at nowhere"):
        fresh_processes("nowhere", processes=1)


def test_the_fingerprint_reads_a_board_and_leaves_out_what_is_unknown(tmp_path: Path):
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_bytes(b"NVIDIA Jetson Orin Nano\0")
    (tmp_path / "proc/cpuinfo").write_text("processor : 0\nFeatures : fp asimddp i8mm\n")
    facts = fingerprint(tmp_path)
    assert facts["board"] == "NVIDIA Jetson Orin Nano"
    assert facts["vector_flags"] == ["asimddp", "i8mm"]
    assert "memory_mb" not in facts
    assert "cpu" not in facts
    assert len(facts["id"]) == 12
    assert fingerprint(tmp_path)["id"] == facts["id"]


def test_resident_memory_is_read_or_absent(tmp_path: Path):
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/status").write_text("Name:\tx\nVmRSS:\t   1000 kB\n")
    assert resident_mb(7, tmp_path) == 1.024
    assert resident_mb(8, tmp_path) is None


def test_ratios_of_blocks_find_a_known_factor():
    rng = np.random.default_rng(3)
    a = rng.uniform(1, 2, 200)
    ratio = block_ratios(a, a * 1.5 * rng.normal(1, 0.01, 200), seed=0)
    low, high = ratio["interval_95"]
    assert low <= ratio["median"] <= high
    assert ratio["median"] == pytest.approx(1.5, rel=0.01)
    assert ratio["quartiles"][0] < ratio["median"] < ratio["quartiles"][1]
    assert high - low < 0.02


def test_the_ratio_of_totals_sees_what_falls_into_few_blocks():
    a = np.full(100, 1000)
    b = np.where(np.arange(100) % 10 == 0, 2000, 1000)
    assert block_ratios(a, b, seed=0)["median"] == 1.0
    total = total_ratio(a, b, seed=0)
    low, high = total["interval_95"]
    assert total["ratio"] == 1.1
    assert 1.0 < low < 1.1 < high < 1.2


def test_the_ratio_of_a_long_run_takes_little_memory():
    """A bootstrap draw of as many blocks is 0.16 MB; all of them would be 320."""
    blocks = np.random.default_rng(1).uniform(1, 2, 20_000)
    tracemalloc.start()
    total_ratio(blocks, blocks, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


def test_memory_while_streaming_is_read_before_other_scenarios(monkeypatch, pack_path, voice_wav):
    from edge_ser.runtime.bench import run

    done = []

    def told(name, result):
        def call(*args, **how):
            done.append(name)
            return result(*args, **how)

        return call

    monkeypatch.setattr(run, "streams_in_time", lambda *args, **how: {})
    for name in ("single_stream", "offline", "streams_in_time", "resident_mb"):
        monkeypatch.setattr(run, name, told(name, getattr(run, name)))
    settings = BenchSettings(
        pack_path, audio=voice_wav, seconds=2, warmup_steps=0, processes=0, scenarios=SCENARIOS
    )
    assert bench(settings).document["rss_mb"] > 5
    assert done[:2] == ["single_stream", "resident_mb"]
    assert done[2:] == ["offline", "streams_in_time"]


def test_comparing_hooks_tells_both_sides(pack_path, voice_wav):
    pytest.importorskip("hdrh", reason="needs the profile extra")
    pytest.importorskip("prometheus_client", reason="needs the profile extra")
    document = compare(
        Side(pack_path),
        Side(pack_path, hooks=True),
        audio_file=voice_wav,
        seconds=4,
        warmup_steps=2,
        block_steps=5,
    )
    assert document["blocks"] == 10
    assert not document["a"]["hooks"]
    assert document["b"]["hooks"]
    assert document["b"]["backend"] == "onnxruntime"
    assert document["a"]["latency_ms"]["p50"] > 0
    low, high = document["ratio_b_to_a"]["step_time"]["interval_95"]
    assert 0 < low <= high
    json.dumps({**document, "a": {**document["a"]}})


def test_equal_sides_and_too_few_blocks_are_refused(pack_path, voice_wav):
    with pytest.raises(UsageError, match="the same"):
        compare(Side(pack_path), Side(pack_path))
    with pytest.raises(UsageError, match="at least 4"):
        compare(Side(pack_path), Side(pack_path, threads=2), audio_file=voice_wav, seconds=2)


def test_a_precision_that_a_pack_lacks_is_an_error(pack_path, voice_wav):
    with pytest.raises(BackendError, match="no int8 model"):
        compare(Side(pack_path), Side(pack_path, precision="int8"), audio_file=voice_wav)
