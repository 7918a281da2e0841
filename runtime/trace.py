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
from edge_ser.runtime.hooks.numbered_text import NumberedText
from edge_ser.runtime.hooks.waiting_blocks import WaitingBlocks
from edge_ser.runtime.step_block import StepBlock
from edge_ser.runtime.timing import StageTiming, StepTiming

__all__ = ["TraceHook"]

_HEAD = '{"displayTimeUnit":"ms","traceEvents":[\n'
_TAIL = "\n]}\n"
_STEPS_A_WRITE = 1024


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
        self._texts: dict[tuple[int, tuple[str, ...]], NumberedText] = {}
        self._waiting = WaitingBlocks(self._write_block, _STEPS_A_WRITE)
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
            end_ns = timing.start_ns + timing.duration_ns
            self._file.add(line.encode() + self._mark(end_ns, tail))
        else:
            self._file.add(line.encode())
        stages.clear()

    def on_block(self, block: StepBlock) -> None:
        """The same of many steps, written some hundred at a time."""
        self._waiting.add(block)

    def _write_block(self, block: StepBlock) -> None:
        track = self._tracks.get(block.stream_id)
        if track is None:
            track = self._track(block.stream_id)
        text = self._texts.get((track, block.stages))
        if text is None:
            text = self._texts[track, block.stages] = self._text(track, block.stages)
        starts, durations = block.starts_ns.T, block.durations_ns.T
        n_stages, n_steps = starts.shape
        numbers = np.empty((2 * n_stages + 2, n_steps), np.int64)
        numbers[:n_stages], numbers[n_stages:-1] = starts, durations
        numbers[-1] = np.arange(block.first, block.first + n_steps)
        lines = text.rows(numbers)
        for row in block.late:
            end_ns = int(starts[0, row] + durations[-1, row])
            lines += self._mark(end_ns, self._tail(track, block.first + row))
        self._file.add(lines)

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
        self._waiting.settle()
        self._file.finish(_TAIL, path, cut=",\n")

    def close(self) -> None:
        """Let the trace appear at the path that was named at the beginning.

        Raises:
            InputError: the file cannot be written.
        """
        self._waiting.settle()
        self._file.finish(_TAIL, cut=",\n")

    def discard(self) -> None:
        """Give the trace up; nothing is left on disk."""
        self._file.discard()

    def discard_empty(self) -> bool:
        """Give the trace up if it has no step, and say whether that was so."""
        self._waiting.settle()
        if not self._tracks:
            self.discard()
        return not self._tracks

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

    def _text(self, track: int, stages: tuple[str, ...]) -> NumberedText:
        # Nanoseconds with an exponent are microseconds that need no division.
        n_stages = len(stages)
        place = f'e-3,"pid":{self._pid},"tid":{track}}},\n'
        parts: list[str | int] = []
        for i, stage in enumerate(stages):
            head = f'{{"name":{json.dumps(stage)},"cat":"stage","ph":"X","ts":'
            parts += [head, i, 'e-3,"dur":', n_stages + i, place]
        step, number = 2 * n_stages, 2 * n_stages + 1
        before, after = self._tail(track, "\0").split("\0")
        parts += ['{"name":"step","cat":"step","ph":"X","ts":', 0, 'e-3,"dur":', step]
        return NumberedText([*parts, f"e-3,{before}", number, after])

    def _mark(self, end_ns: int, tail: str) -> bytes:
        return f'{{"name":"deadline.miss","ph":"i","s":"t","ts":{end_ns / 1e3:.3f},{tail}'.encode()

    def _name(self, stage: str) -> str:
        name = self._names[stage] = json.dumps(stage)
        return name
