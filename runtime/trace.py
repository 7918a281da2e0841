"""A trace of every stage of every step for ui.perfetto.dev or chrome://tracing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from edge_ser.files import write_text
from edge_ser.runtime.timing import StageTiming, StepTiming

__all__ = ["TraceHook"]


class TraceHook:
    """Collects timings in the Chrome trace event format (times in microseconds)."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []
        self._pid = os.getpid()

    def on_stage(self, timing: StageTiming) -> None:
        """A slice inside the step."""
        self._slice(timing.stage, "stage", timing.start_ns, timing.duration_ns, timing.step)

    def on_step(self, timing: StepTiming) -> None:
        """The slice of the whole step, and a mark when it came too late."""
        self._slice("step", "step", timing.start_ns, timing.duration_ns, timing.step)
        if timing.missed:
            self._events.append(
                {
                    "name": "deadline.miss",
                    "ph": "i",
                    "s": "t",
                    "ts": (timing.start_ns + timing.duration_ns) / 1e3,
                    "pid": self._pid,
                    "tid": 1,
                }
            )

    def write(self, path: Path) -> None:
        """Write what was collected.

        Raises:
            InputError: the file cannot be written.
        """
        write_text(path, json.dumps({"traceEvents": self._events, "displayTimeUnit": "ms"}))

    def _slice(self, name: str, category: str, start_ns: int, duration_ns: int, step: int) -> None:
        self._events.append(
            {
                "name": name,
                "cat": category,
                "ph": "X",
                "ts": start_ns / 1e3,
                "dur": duration_ns / 1e3,
                "pid": self._pid,
                "tid": 1,
                "args": {"step": step},
            }
        )
