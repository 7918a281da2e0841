"""The flags of ``run`` that say where the time went."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import contextmanager

import numpy as np
import pytest
from making.speech import speech, speech_pcm

from edge_ser.cli.main import main
from edge_ser.runtime import Stream
from edge_ser.runtime.live_source import Heard


def test_steps_and_trace_appear_beside_the_events(shared_pack, sound, tmp_path, capsys):
    steps, trace = tmp_path / "steps.jsonl", tmp_path / "trace.json"
    words = ["run", str(sound), "--pack", str(shared_pack), "--jsonl", "--nvtx"]
    assert main([*words, "--steps", str(steps), "--trace", str(trace), "--trace-nodes"]) == 0
    capsys.readouterr()
    lines = [json.loads(line) for line in steps.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(10))
    assert all(set(line["stages_ns"]) == {"frontend", "infer", "post"} for line in lines)
    events = json.loads(trace.read_text())["traceEvents"]
    assert sum(event["name"] == "step" for event in events) == 10
    assert any(event.get("cat", "").startswith("node/") for event in events)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    "fault", [["missing.wav"], ["demo", "--require-backend", "tensorrt"], ["demo", "--every", "0"]]
)
def test_a_run_that_fails_leaves_no_profile_behind(shared_pack, tmp_path, capsys, fault):
    trace = tmp_path / "trace.json"
    words = ["run", *fault, "--pack", str(shared_pack), "--trace", str(trace), "--trace-nodes"]
    assert main(words) == 2
    assert [path for path in tmp_path.iterdir() if path != trace] == []


def test_nodes_of_an_engine_that_does_not_tell_are_refused(
    shared_pack, sound, tmp_path, capsys, monkeypatch
):
    from edge_ser.runtime.backends.ort import OrtEngine

    monkeypatch.delattr(OrtEngine, "node_events")
    files = ["--trace", str(tmp_path / "trace.json"), "--trace-nodes"]
    assert main(["run", str(sound), "--pack", str(shared_pack), *files]) == 2
    assert "onnxruntime does not tell the time of its nodes" in capsys.readouterr().err
    assert list(tmp_path.glob("*trace*")) == []


def test_a_full_disk_ends_a_file_and_the_command_but_not_the_stream(
    edge_ser_command, shared_pack, sound, tmp_path
):
    """A limit on the size of files stands for the disk: writing fails in the same place."""
    resource = pytest.importorskip("resource", reason="this system has no limits of processes")
    files = ["--steps", tmp_path / "steps.jsonl", "--trace", tmp_path / "trace.json"]
    done = edge_ser_command(
        "run", sound, "--pack", shared_pack, "--jsonl", *files,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["type"] == "stream.ended"
    assert "steps.jsonl is incomplete, 10 lines are missing: File too large\n" in done.stderr
    assert "trace.json is incomplete" in done.stderr
    assert json.loads((tmp_path / "trace.json").read_text())
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_metrics_are_served_meanwhile(shared_pack, sound, capsys):
    pytest.importorskip("prometheus_client", reason="needs the profile extra")
    words = ["run", str(sound), "--pack", str(shared_pack), "--jsonl"]
    assert main([*words, "--metrics-port", "0"]) == 0
    capsys.readouterr()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main([*words, "--metrics-port", str(taken.getsockname()[1])]) == 2
    assert "choose another port" in capsys.readouterr().err


def test_a_live_source_is_watched_as_a_file_is(shared_pack, tmp_path, capsys, monkeypatch):
    """One that goes away ends the command here; the flags of the profiler all work meanwhile."""
    pytest.importorskip("prometheus_client", reason="needs the profile extra")
    from edge_ser.cli import profiling

    watched = []
    real = profiling.profile

    @contextmanager
    def kept(options, recognizer):
        with real(options, recognizer) as watch:
            watched.append(watch)
            yield watch

    monkeypatch.setattr("edge_ser.cli.run_mic.profile", kept)
    monkeypatch.setattr("edge_ser.runtime.live_source.opener", lambda *_: lambda: Played(12.0))
    monkeypatch.setattr("edge_ser.runtime.live.SpeechGate", EverSpeech)
    before = signal.getsignal(signal.SIGTERM)
    steps, trace = tmp_path / "steps.jsonl", tmp_path / "trace.json"
    files = ["--steps", str(steps), "--trace", str(trace), "--trace-nodes"]
    words = ["run", "mic", "--pack", str(shared_pack), "--jsonl", "--nvtx", "--metrics-port", "0"]
    try:
        assert main([*words, *files]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    n_steps = sum(e["type"] == "emotion" and not e["final"] for e in events)
    assert len(steps.read_text().splitlines()) == n_steps
    traced = json.loads(trace.read_text())["traceEvents"]
    assert sum(e["name"] == "step" for e in traced) == n_steps
    assert any(e["ph"] == "C" and e["name"] == "memory (MB)" for e in traced)
    assert any(e.get("cat", "").startswith("node/") for e in traced)
    metrics = watched[0].metrics.exposition().decode()
    assert 'ser_events_total{label="' in metrics
    assert "ser_source_up 1.0" in metrics
    assert "ser_audio_overflows_total 1.0" in metrics
    assert f"ser_frame_age_seconds_count {n_steps}.0" in metrics


class EverSpeech:
    """A gate that hears speech in everything."""

    rate_hz, window = 16000, 512

    def probability(self, window: np.ndarray) -> float:
        return 0.99

    def reset(self) -> None:
        pass


class Played:
    """A microphone that plays some speech, loses half a second, and is unplugged for good."""

    name = "played"

    def __init__(self, seconds: float) -> None:
        samples = speech(seconds)
        self._blocks = [samples[i : i + 1280] for i in range(0, len(samples), 1280)]
        self._lost = 8000

    def read(self) -> Heard:
        if not self._blocks:
            raise KeyboardInterrupt
        lost, self._lost = self._lost, 0
        return Heard(self._blocks.pop(0), lost, time.perf_counter_ns())

    def close(self) -> None:
        pass


def test_one_file_is_not_for_two_things(shared_pack, tmp_path, capsys):
    same = str(tmp_path / "x")
    assert main(["run", "mic", "--record", same, "--steps", same]) == 2
    assert "--steps and --record name the same file" in capsys.readouterr().err


@pytest.fixture
def late(monkeypatch) -> Callable[[int], None]:
    """Makes the clock say that the features of a step took a second."""
    from edge_ser.runtime import stream as module

    assert Stream is module.Stream
    real = module.clock

    def make(step: int) -> None:
        calls = [0]

        def clock() -> int:
            calls[0] += 1
            return real() + (1_000_000_000 if calls[0] > 4 * step + 1 else 0)

        monkeypatch.setattr(module, "clock", clock)

    return make


def misses_of(capsys) -> list[tuple[int, str]]:
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == "stream.ended"
    missed = [e for e in events if e["type"] == "deadline.miss" and e["took_ms"] > 1000]
    return [(event["step"], event["stage"]) for event in missed]


def test_a_late_step_of_paced_audio_is_told_with_its_stage(shared_pack, sound, capsys, late):
    late(2)
    words = ["run", str(sound), "--pack", str(shared_pack), "--jsonl", "--realtime"]
    assert main(words) == 0
    assert misses_of(capsys) == [(2, "frontend")]


def test_a_late_step_is_told_of_a_pipe_and_not_of_a_file(
    shared_pack, sound, capsys, late, monkeypatch
):
    words = ["run", "-", "--pack", str(shared_pack), "--jsonl"]
    reading, writing = os.pipe()
    with open(writing, "wb") as pipe:
        pipe.write(speech_pcm(0.8).tobytes())
    with open(reading) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        late(2)
        assert main(words) == 0
    assert misses_of(capsys) == [(2, "frontend")]
    (sound.parent / "raw").write_bytes(speech_pcm(0.8).tobytes())
    with open(sound.parent / "raw") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        late(2)
        assert main(words) == 0
    assert misses_of(capsys) == []


def test_a_last_step_that_is_late_is_told_before_the_end(
    shared_pack, tmp_path, capsys, late, monkeypatch
):
    """Half a step is left when the pipe ends; only the end of the stream takes it."""
    (reading, writing), pcm = os.pipe(), speech_pcm(0.8)
    with open(writing, "wb") as pipe:
        pipe.write(pcm[: 3 * 1280 + 640].tobytes())
    with open(reading) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        late(3)
        assert main(["run", "-", "--pack", str(shared_pack), "--jsonl"]) == 0
    assert misses_of(capsys) == [(3, "frontend")]
