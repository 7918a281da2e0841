"""A trace of every stage of every step for ui.perfetto.dev or chrome://tracing."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np

from edge_ser.runtime.board.condition import BoardCondition
from edge_ser.runtime.hooks.line_file import LineFile
from edge_ser.runtime.timing import StageTiming, StepBlock, StepTiming

__all__ = ["TraceHook"]

_HEAD = '{"displayTimeUnit":"ms","traceEvents":[\n'
_TAIL = "\n]}\n"


class TraceHook:
    """Streams timings to disk in the Chrome trace event format (times in microseconds).

    Memory stays small however long the stream is. A full disk is told of once; the trace
    then ends there and is whole. One hook may watch several streams, each gets a track.

    Args:
        path: where the trace will stand after :meth:`close`; without it, it is kept among the
            temporary files until :meth:`write`.
        max_bytes: size at which the trace ends.

    Raises:
        InputError: no file can be made there.
    """

    def __init__(self, path: Path | None = None, *, max_bytes: int = 256 * 2**20) -> None:
        self._pid = os.getpid()
        self._file = LineFile(path, _HEAD, max_bytes=max_bytes)
        self._tracks: dict[str, int] = {}
        self._names: dict[str, str] = {}
        self._templates: dict[tuple[int, tuple[str, ...]], bytes] = {}
        self._pending: defaultdict[int, list[StageTiming]] = defaultdict(list)
        self._event({"name": "process_name", "ph": "M", "args": {"name": "edge-ser"}})

    def on_stage(self, timing: StageTiming) -> None:
        """Keep a stage until its step names the stream."""
        self._pending[get_ident()].append(timing)

    def on_step(self, timing: StepTiming) -> None:
        """The slice of the whole step, those of its stages, and a mark when it was late."""
        stages = self._pending[get_ident()]
        track = self._tracks.get(timing.stream_id)
        if track is None:
            track = self._track(timing.stream_id)
        tail = self._tail(track, timing.step)
        place = f'"pid":{self._pid},"tid":{track}}},\n'
        line = ""
        for stage in stages:
            name = self._names.get(stage.stage) or self._name(stage.stage)
            line += (
                f'{{"name":{name},"cat":"stage","ph":"X","ts":{stage.start_ns / 1e3:.3f},'
                f'"dur":{max(stage.duration_ns, 0) / 1e3:.3f},{place}'
            )
        line += (
            f'{{"name":"step","cat":"step","ph":"X","ts":{timing.start_ns / 1e3:.3f},'
            f'"dur":{max(timing.duration_ns, 0) / 1e3:.3f},{tail}'
        )
        if timing.missed:
            end_us = (timing.start_ns + timing.duration_ns) / 1e3
            line += f'{{"name":"deadline.miss","ph":"i","s":"t","ts":{end_us:.3f},{tail}'
        stages.clear()
        self._file.add(line.encode())

    def on_block(self, block: StepBlock) -> None:
        """The same of many steps: numbers first, then one formatting for all of them."""
        track = self._tracks.get(block.stream_id)
        if track is None:
            track = self._track(block.stream_id)
        template = self._templates.get((track, block.stages))
        if template is None:
            template = self._templates[track, block.stages] = self._template(track, block.stages)
        starts, durations = block.starts_ns, block.durations_ns
        steps, slices = durations.shape
        # Begin and duration of every stage and of the whole step, then the number of the step.
        values = np.empty((steps, 2 * slices + 1), np.int64)
        values[:, 0:-3:2], values[:, -3] = starts, starts[:, 0]
        values[:, 1:-1:2] = durations
        values[:, -1] = np.arange(block.first, block.first + steps)
        self._file.add((template * steps) % tuple(values.ravel().tolist()))
        for row in block.late:
            end_us = int(starts[row, 0] + durations[row, -1]) / 1e3
            self._file.add(
                f'{{"name":"deadline.miss","ph":"i","s":"t","ts":{end_us:.3f},'
                f"{self._tail(track, block.first + row)}".encode()
            )

    def counter(self, t_ns: int, name: str, series: Mapping[str, float]) -> None:
        """A point of a counter track, at ``t_ns`` of ``perf_counter_ns``."""
        self._event({"name": name, "ph": "C", "ts": t_ns / 1e3, "args": dict(series)})

    def on_board(self, t_ns: int, condition: BoardCondition) -> None:
        """The board's condition as counter tracks (a sink of ``BoardSampler``)."""
        for name, series in condition.counters().items():
            self.counter(t_ns, name, series)

    def merge(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Ready-made events of another profiler, on the same clock in microseconds."""
        for event in events:
            self._event(event)

    def write(self, path: Path) -> None:
        """Let the trace appear at ``path``; nothing can be added after.

        Raises:
            InputError: the file cannot be written.
        """
        self._file.finish(_TAIL, path, cut=",\n")

    def close(self) -> None:
        """Let the trace appear at the path that was named at the beginning.

        Raises:
            InputError: the file cannot be written.
        """
        self._file.finish(_TAIL, cut=",\n")

    def discard(self) -> None:
        """Give the trace up; nothing is left on disk."""
        self._file.discard()

    def _event(self, event: Mapping[str, Any]) -> None:
        whole = {"pid": self._pid, "tid": 0, "ts": 0, **event}
        self._file.add(json.dumps(whole, separators=(",", ":")).encode() + b",\n")

    def _track(self, stream_id: str) -> int:
        track = self._tracks[stream_id] = len(self._tracks) + 1
        args = {"name": f"stream {stream_id}"}
        self._event({"name": "thread_name", "ph": "M", "tid": track, "args": args})
        return track

    def _tail(self, track: int, step: int | str) -> str:
        return f'"pid":{self._pid},"tid":{track},"args":{{"step":{step}}}}},\n'

    def _template(self, track: int, stages: tuple[str, ...]) -> bytes:
        # Nanoseconds with an exponent are microseconds that need no division.
        times = '"ph":"X","ts":%de-3,"dur":%de-3,'
        place = f'"pid":{self._pid},"tid":{track}}},\n'
        names = [json.dumps(stage).replace("%", "%%") for stage in stages]
        lines = [f'{{"name":{name},"cat":"stage",{times}{place}' for name in names]
        step = f'{{"name":"step","cat":"step",{times}{self._tail(track, "%d")}'
        return ("".join(lines) + step).encode()

    def _name(self, stage: str) -> str:
        name = self._names[stage] = json.dumps(stage)
        return name
