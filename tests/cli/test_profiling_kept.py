"""What ``run`` writes beside its events destroys nothing that was there before."""

from __future__ import annotations

import io
import json
import socket
import sys
from pathlib import Path

import pytest

from edge_ser.cli.main import main
from edge_ser.errors import InputError


@pytest.fixture
def older(tmp_path: Path) -> dict[str, Path]:
    """Files of an earlier run."""
    paths = {"trace": tmp_path / "trace.json", "steps": tmp_path / "steps.jsonl"}
    for path in paths.values():
        path.write_text("of an earlier run")
    return paths


def run(pack: Path, older: dict[str, Path], *words: str) -> int:
    files = [word for flag, path in older.items() for word in (f"--{flag}", str(path))]
    return main(["run", *words, "--pack", str(pack), "--jsonl", *files])


def is_as_before(older: dict[str, Path]) -> bool:
    folder = older["trace"].parent
    return all(path.read_text() == "of an earlier run" for path in older.values()) and not [
        path.name for path in folder.iterdir() if path.name.startswith(".")
    ]


def test_a_run_that_fails_at_its_start_leaves_older_files(shared_pack, sound, older, capsys):
    assert run(shared_pack, older, str(sound), "--every", "0") == 2
    assert is_as_before(older)
    assert run(shared_pack, older, str(sound), "--every", "0", "--trace-nodes") == 2
    assert is_as_before(older)


def test_so_does_one_whose_port_is_taken(shared_pack, sound, older, capsys):
    pytest.importorskip("prometheus_client", reason="needs the profile extra")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert run(shared_pack, older, str(sound), "--metrics-port", port) == 2
    assert is_as_before(older)


def test_so_does_one_that_hears_nothing(shared_pack, older, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    assert run(shared_pack, older, "-") == 2
    assert is_as_before(older)


def test_so_does_one_without_its_microphone(shared_pack, older, tmp_path, capsys, monkeypatch):
    def nowhere():
        raise InputError("no such microphone")

    monkeypatch.setattr("edge_ser.runtime.live_source.opener", lambda *_: nowhere)
    older["record"] = tmp_path / "old.rec"
    older["record"].write_text("of an earlier run")
    assert run(shared_pack, older, "mic") == 2
    assert is_as_before(older)


def test_what_was_streamed_before_a_failure_is_kept(shared_pack, sound, older, capsys, monkeypatch):
    from edge_ser.cli import run as module

    def fail(event) -> None:
        if event.seq == 5:
            raise InputError("the fifth event")

    monkeypatch.setattr(module, "_show_json", fail)
    assert run(shared_pack, older, str(sound)) == 2
    assert json.loads(older["trace"].read_text())["traceEvents"]
    assert len(older["steps"].read_text().splitlines()) >= 4


@pytest.mark.parametrize("spelling", ["absolute", "dots", "link"])
def test_one_file_is_not_for_two_things_however_it_is_spelt(
    shared_pack, sound, tmp_path, capsys, monkeypatch, spelling
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to("x")
    other = {"absolute": str(tmp_path / "x"), "dots": "./sub/../x", "link": "link"}[spelling]
    words = ["run", str(sound), "--pack", str(shared_pack), "--trace", "x", "--steps", other]
    assert main(words) == 2
    assert "--trace and --steps name the same file" in capsys.readouterr().err


def test_nodes_that_cannot_be_read_end_the_command_and_not_the_trace(
    shared_pack, sound, older, capsys, monkeypatch
):
    from edge_ser.runtime.backends.ort import OrtEngine
    from edge_ser.runtime.hooks.node_profile import node_events

    monkeypatch.setattr(OrtEngine, "node_events", lambda engine: node_events("[{", 0))
    assert run(shared_pack, older, str(sound), "--trace-nodes") == 1
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["type"] == "stream.ended"
    assert "the trace is without nodes" in err
    events = json.loads(older["trace"].read_text())["traceEvents"]
    assert sum(event["name"] == "step" for event in events) == 10
