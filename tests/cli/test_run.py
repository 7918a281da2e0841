"""``edge-ser run`` as a user calls it: files, pipes, traces, broken input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_ser.cli.main import main

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def sound(tmp_path: Path, pcm: NDArray[np.int16]) -> Path:
    path = tmp_path / "hello.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(pcm.tobytes())
    return path


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_lines(
    shared_pack: Path, sound: Path, pcm: NDArray[np.int16], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(sound), "--pack", str(shared_pack), "--jsonl"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    events = lines_of(said.out)
    n_steps = -(-len(pcm) // 1280)
    assert [event["type"] for event in events] == [
        "stream.started", *["emotion"] * n_steps, "stream.ended",
    ]  # fmt: skip
    assert [event["seq"] for event in events] == list(range(1, n_steps + 3))
    assert {event["schema"] for event in events} == {"edge-ser.event/1"}
    assert {event["stream_id"] for event in events} == {"hello"}
    final = events[-2]
    assert final["final"] is True
    assert final["trigger"] == "speech_ended"
    assert final["audio_end_ms"] == pytest.approx(len(pcm) / 16, abs=1e-3)
    assert sum(final["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)
    assert set(final["latency_ms"]) == {"frontend", "infer", "post", "total"}


def test_text(shared_pack: Path, sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(sound), "--pack", str(shared_pack), "--every", "10"]) == 0
    head, columns, *rows = capsys.readouterr().out.splitlines()
    assert head == "hello through tiny@1.0 (fp32, onnxruntime)"
    assert "confidence" in columns
    assert len(rows) == 4
    assert rows[-1].endswith("= whole utterance")


def test_text_on_a_terminal_that_knows_ascii_only(
    edge_ser_command: Run, shared_pack: Path, sound: Path
) -> None:
    done = edge_ser_command(
        "run", sound, "--pack", shared_pack, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 0, done.stderr
    assert "= whole utterance" in done.stdout


def test_standard_input_gives_what_a_file_gives(
    edge_ser_command: Run, shared_pack: Path, sound: Path, pcm: NDArray[np.int16]
) -> None:
    words = ["--pack", shared_pack, "--jsonl"]
    piped: Any = edge_ser_command("run", "-", *words, input=pcm.tobytes(), text=False)
    assert piped.returncode == 0, piped.stderr
    file = edge_ser_command("run", sound, *words)
    # A busy machine may be late with a step, and a pipe may be live.
    one = [event for event in lines_of(piped.stdout) if event["type"] != "deadline.miss"]
    other = lines_of(file.stdout)
    assert [e.get("probabilities") for e in one] == [e.get("probabilities") for e in other]
    assert one[0]["stream_id"] == "stdin"


def test_demo(shared_pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "demo", "--pack", str(shared_pack), "--jsonl"]) == 0
    assert lines_of(capsys.readouterr().out)[-1]["type"] == "stream.ended"


def test_trace(
    shared_pack: Path, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace.json"
    words = ["run", str(sound), "--pack", str(shared_pack), "--jsonl", "--trace", str(trace)]
    assert main(words) == 0
    steps = sum(event["type"] == "emotion" for event in lines_of(capsys.readouterr().out))
    slices = [e for e in json.loads(trace.read_text())["traceEvents"] if e["ph"] == "X"]
    assert len(slices) == 4 * steps


def make_empty(path: Path) -> Path:
    path.touch()
    return path


def make_garbage(path: Path) -> Path:
    path.write_bytes(os.urandom(5000))
    return path


def make_truncated(path: Path) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes(32000))
    path.write_bytes(path.read_bytes()[:9000])
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path, "no such audio file"),
        (lambda path: path.parent, "no such audio file|is a folder"),
        (make_empty, "the file is empty"),
        (make_garbage, "cannot be read"),
        (make_truncated, "is truncated"),
    ],
)
def test_bad_files(
    edge_ser_command: Run,
    shared_pack: Path,
    tmp_path: Path,
    make: Callable[[Path], Path],
    says: str,
) -> None:
    import re

    path = make(tmp_path / "bad.wav")
    done = edge_ser_command("run", path, "--pack", shared_pack, "--jsonl")
    assert done.returncode == 2
    assert re.search(says, done.stderr)
    assert str(path) in done.stderr
    assert done.stderr.startswith("edge-ser: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--pack", "nowhere"], "no pack at nowhere"),
        (["--backend", "tensorrt"], "has no model for tensorrt"),
        (["--require-backend", "tensorrt"], "tensorrt is required"),
        (["--precision", "int8"], "has no int8 model"),
        (["--threads", "0"], "0 is not between 1 and"),
        (["--every", "0"], "got 0"),
    ],
)
def test_what_cannot_be_done(
    shared_pack: Path,
    sound: Path,
    words: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["run", str(sound), "--pack", str(shared_pack), "--jsonl", *words]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_a_trace_that_cannot_be_written_is_said_before_the_work(
    shared_pack: Path, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    trace = tmp_path / "file" / "trace.json"
    words = ["run", str(sound), "--pack", str(shared_pack), "--jsonl", "--trace", str(trace)]
    assert main(words) == 2
    said = capsys.readouterr()
    assert f"cannot write {trace}" in said.err
    assert said.err.count("\n") == 1


def test_nothing_on_standard_input(edge_ser_command: Run, shared_pack: Path) -> None:
    done = edge_ser_command("run", "-", "--pack", shared_pack, input="")
    assert done.returncode == 2
    assert "no samples arrived" in done.stderr


def test_half_a_sample_on_standard_input(
    edge_ser_command: Run, shared_pack: Path, pcm: NDArray[np.int16]
) -> None:
    done: Any = edge_ser_command(
        "run", "-", "--pack", shared_pack, input=pcm.tobytes() + b"\0", text=False
    )
    assert done.returncode == 2
    assert b"middle of a 16-bit sample" in done.stderr


def test_a_reader_that_goes_away(shared_pack: Path, sound: Path) -> None:
    shell = f'"$PY" -m edge_ser run "{sound}" --pack "{shared_pack}" --jsonl | head -n 1'
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shell}"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PY": sys.executable},
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(lines_of(done.stdout)) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_cannot_be_written(
    edge_ser_command: Run, shared_pack: Path, sound: Path
) -> None:
    with open("/dev/full", "w") as full:
        done = edge_ser_command(
            "run", sound, "--pack", shared_pack, "--jsonl",
            capture_output=False, stdout=full, stderr=subprocess.PIPE,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "edge-ser: cannot write the output: No space left on device\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_errors_that_cannot_be_written_keep_their_status(edge_ser_command: Run) -> None:
    with open("/dev/full", "w") as full:
        done = edge_ser_command(
            "run", "nothing.wav", capture_output=False, stdout=subprocess.PIPE, stderr=full
        )
    assert done.returncode == 2


def test_ctrl_c_ends_the_stream_with_its_verdict(shared_pack: Path, pcm: NDArray[np.int16]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "edge_ser", "run", "-", "--pack", str(shared_pack), "--jsonl"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell gives what it runs in the background no Ctrl-C to hear, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(pcm.tobytes())
        process.stdin.flush()
        assert process.stdout.readline()  # it listens
        process.send_signal(signal.SIGINT)
        last = [json.loads(line) for line in process.stdout.read().splitlines()[-2:]]
        assert process.stderr.read() == b""
        assert process.wait(60) == 0
    assert [event["type"] for event in last] == ["emotion", "stream.ended"]
    assert last[0]["final"]


def test_sigterm_ends_the_stream_with_its_verdict(
    shared_pack: Path, pcm: NDArray[np.int16], tmp_path: Path
) -> None:
    trace = tmp_path / "trace.json"
    with subprocess.Popen(
        [sys.executable, "-m", "edge_ser", "run", "-", "--pack", str(shared_pack), "--jsonl",
         "--trace", str(trace)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(pcm.tobytes())
        process.stdin.flush()
        assert process.stdout.readline()  # it listens
        process.send_signal(signal.SIGTERM)
        assert json.loads(process.stdout.read().splitlines()[-1])["type"] == "stream.ended"
        assert process.wait(60) == 0
    assert json.loads(trace.read_text())["traceEvents"]
    assert list(tmp_path.iterdir()) == [trace]


def test_a_wav_on_standard_input_is_no_speech(shared_pack: Path, sound: Path) -> None:
    with sound.open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "edge_ser", "run", "-", "--pack", str(shared_pack)],
            stdin=file, capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 2
    assert "standard input is a WAV file" in done.stderr


@pytest.mark.parametrize(("closed", "status"), [("<&-", 2), (">&-", 0)])
def test_closed_standard_streams(closed: str, status: int, shared_pack: Path, sound: Path) -> None:
    what = "-" if closed == "<&-" else str(sound)
    command = f'"{sys.executable}" -m edge_ser run "{what}" --pack "{shared_pack}" {closed}'
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == status
    assert "fault of edge-ser" not in done.stderr


def test_a_trace_that_is_the_input_is_refused(shared_pack: Path, sound: Path) -> None:
    before = sound.read_bytes()
    assert main(["run", str(sound), "--pack", str(shared_pack), "--trace", str(sound)]) == 2
    assert sound.read_bytes() == before
