"""The flags of ``run`` that say where the time went."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from making.speech import speech_pcm

from edge_ser.cli.main import main
from edge_ser.runtime import Stream


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    import wave

    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(speech_pcm(0.8).tobytes())
    return path


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


@pytest.mark.parametrize("flag", [["--steps", "x.jsonl"], ["--metrics-port", "1"], ["--nvtx"]])
def test_a_microphone_is_not_watched_in_silence(flag, capsys):
    assert main(["run", "mic", *flag]) == 2
    assert flag[0] in capsys.readouterr().err


def test_a_late_step_of_paced_audio_is_told_with_its_stage(shared_pack, sound, capsys, monkeypatch):
    """The clock says that the third step's features took a second."""
    from edge_ser.runtime import stream as module

    calls, real = [0], module.clock

    def clock() -> int:
        calls[0] += 1
        return real() + (1_000_000_000 if calls[0] > 4 * 2 + 1 else 0)

    monkeypatch.setattr(module, "clock", clock)
    assert Stream is module.Stream
    words = ["run", str(sound), "--pack", str(shared_pack), "--jsonl", "--realtime"]
    assert main(words) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    missed = [e for e in events if e["type"] == "deadline.miss" and e["took_ms"] > 1000]
    assert [(e["step"], e["stage"]) for e in missed] == [(2, "frontend")]
