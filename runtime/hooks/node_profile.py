"""ONNX Runtime's own profile of every node, on the time line of the trace."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from edge_ser.errors import OutputError

__all__ = ["node_events"]

TRACK = 1000
"""Number of the track; streams count from 1."""


def node_events(profile: str, start_ns: int) -> Iterator[dict[str, Any]]:
    """Trace events of the nodes in a profile that ONNX Runtime wrote.

    Args:
        profile: content of the file, a JSON array.
        start_ns: when profiling began (``perf_counter_ns``); its times count from there.

    Yields:
        The name of the track, then one complete event a node, times in microseconds.

    Raises:
        OutputError: it was not written whole, as on a full disk.
    """
    try:
        events = json.loads(profile)
    except ValueError as error:
        raise OutputError(
            f"ONNX Runtime's node profile cannot be read ({error}); the trace is without nodes"
        ) from error
    pid = os.getpid()
    args: dict[str, Any] = {"name": "ONNX Runtime nodes"}
    yield {"name": "thread_name", "ph": "M", "pid": pid, "tid": TRACK, "args": args}
    for event in events:
        # Each node appears as name_kernel_time (and before 1.16 also as two fences).
        if event.get("cat") != "Node" or not str(event.get("name", "")).endswith("_kernel_time"):
            continue
        details = event.get("args", {})
        yield {
            "name": str(event["name"]).removesuffix("_kernel_time"),
            "cat": f"node/{details.get('op_name', '')}",
            "ph": "X",
            "ts": start_ns / 1e3 + event["ts"],
            "dur": event["dur"],
            "pid": pid,
            "tid": TRACK,
            "args": {key: details[key] for key in ("op_name", "provider") if key in details},
        }
