"""The trace is what ui.perfetto.dev and chrome://tracing read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_ser.errors import InputError
from edge_ser.runtime import StageTiming, StepTiming
from edge_ser.runtime.trace import TraceHook


def test_a_trace(tmp_path: Path) -> None:
    hook = TraceHook()
    hook.on_stage(StageTiming("frontend", 0, 1_000_000, 2_000))
    hook.on_stage(StageTiming("infer", 0, 1_002_000, 5_500))
    hook.on_step(StepTiming("mic0", 0, 1_000_000, 7_500, 80_000_000))
    hook.on_step(StepTiming("mic0", 1, 2_000_000, 90_000_000, 80_000_000))
    hook.write(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    assert [(e["name"], e["ts"], e["dur"]) for e in slices[:3]] == [
        ("frontend", 1000.0, 2.0), ("infer", 1002.0, 5.5), ("step", 1000.0, 7.5),
    ]  # fmt: skip
    missed = [event for event in events if event["name"] == "deadline.miss"]
    assert [event["ts"] for event in missed] == [92_000.0]
    assert all({"ph", "ts", "pid", "tid", "name"} <= set(event) for event in events)


def test_a_trace_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        TraceHook().write(tmp_path / "file" / "trace.json")
