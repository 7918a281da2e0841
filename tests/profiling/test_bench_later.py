"""A benchmark of which a later part fails still tells what it measured."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from contextlib import contextmanager

import pytest

from edge_ser.cli import main
from edge_ser.errors import EdgeSerError, OutputError
from edge_ser.runtime.bench import run as module
from edge_ser.runtime.bench.later import measure_later
from edge_ser.runtime.bench.run import too_slow


@pytest.fixture
def bench(pack_path, voice_wav, capsys):
    def run(*flags: str) -> tuple[int, str, str]:
        always = ["--seconds", "1", "--warmup", "0", "--scenario", "offline", "--processes", "1"]
        status = main(
            ["bench", "--pack", str(pack_path), "--input", str(voice_wav), *always, *flags]
        )
        out, err = capsys.readouterr()
        return status, out, err

    return run


def raising(error: BaseException):
    def measure(*_, **__):
        raise error

    return measure


@pytest.mark.parametrize(
    ("error", "status", "why"),
    [
        (EdgeSerError("it was killed"), 1, "it was killed"),
        (RuntimeError("odd"), 1, "RuntimeError('odd')"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_a_start_that_fails_leaves_the_steps(bench, monkeypatch, tmp_path, error, status, why):
    monkeypatch.setattr(module, "fresh_processes", raising(error))
    page = tmp_path / "page.html"
    got, out, err = bench("--json", "--report", str(page))
    document = json.loads(out)
    assert got == status
    assert document["missing"] == {"fresh_processes": why}
    assert document["steps"] == 12
    assert document["offline"]["audio_s"] > 0
    assert document["cold_start_ms"] is document["fresh_processes"] is None
    assert "Not measured: fresh processes" in page.read_text()
    assert (f"without fresh processes: {why}" in err) == (status == 1)


def test_in_words_it_is_told_too(bench, monkeypatch):
    monkeypatch.setattr(module, "offline", raising(EdgeSerError("no clock")))
    status, out, _ = bench()
    assert status == 1
    assert "one stream    p90" in out
    assert "not measured  offline: no clock" in out
    assert "fresh start" in out, "what comes after the failure is measured still"


def test_after_an_interruption_nothing_is_begun():
    begun = []
    later = measure_later(
        {
            "a": lambda: 1,
            "b": raising(EdgeSerError("b")),
            "c": raising(KeyboardInterrupt()),
            "d": lambda: begun.append("d"),
        }
    )
    assert (later.found, begun) == ({"a": 1}, [])
    assert later.missing == {"b": "b", "c": "interrupted", "d": "interrupted"}
    assert isinstance(later.failure, KeyboardInterrupt)


def test_nothing_is_missing_where_nothing_failed(bench):
    status, out, _ = bench("--json")
    assert status == 0
    assert "missing" not in json.loads(out)


def test_one_stall_does_not_make_a_pack_too_slow():
    base = {"pack": "p", "step_ms": 80.0, "deadline_misses": 1, "steps": 100}
    stalled = {**base, "latency_ms": {"p50": 0.3, "p90": 0.5}, "real_time_factor": 1.5}
    assert too_slow(stalled) is None
    slow = too_slow({**stalled, "latency_ms": {"p50": 70.0, "p90": 200.0}})
    assert slow is not None
    assert "70 ms at the median (1.50 times real time in the mean" in slow


def test_a_report_takes_no_place_of_its_input(pack_path, voice_wav, tmp_path, capsys):
    before = voice_wav.read_bytes()
    link = tmp_path / "link.html"
    link.symlink_to(voice_wav)
    for report in (voice_wav, link):
        flags = ["--pack", str(pack_path), "--input", str(voice_wav), "--report", str(report)]
        assert main(["bench", *flags]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert "is the input, too" in err
    assert voice_wav.read_bytes() == before


def test_a_comparison_is_shown_though_hooks_could_not_write(
    pack_path, voice_wav, capsys, monkeypatch
):
    @contextmanager
    def no_room(folder, recognizer):
        yield []
        raise OutputError("trace.json is incomplete: no space left")

    monkeypatch.setattr("edge_ser.runtime.hooks.every_hook", no_room)
    flags = ["--input", str(voice_wav), "--seconds", "4", "--block", "5", "--warmup", "2", "--json"]
    assert main(["bench", "compare", str(pack_path), "--b-hooks", "all", *flags]) == 1
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["ratio_b_to_a"]["step_time"]["median"] > 0
    assert document["missing"] == {"hooks": "trace.json is incomplete: no space left"}
    assert "no space left" in err


def test_progress_that_cannot_be_written_loses_no_result(bench, monkeypatch):
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Full())
        status, out, _ = bench("--json")
    assert status == 0
    assert json.loads(out)["steps"] == 12
