"""The time of every step as JSON, one step a line."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from threading import get_ident

import numpy as np

from edge_ser.runtime.hooks.line_file import LineFile
from edge_ser.runtime.hooks.numbered_text import NumberedText
from edge_ser.runtime.hooks.waiting_blocks import WaitingBlocks
from edge_ser.runtime.step_block import StepBlock
from edge_ser.runtime.timing import StageTiming, StepTiming

__all__ = ["JsonLinesHook"]

_STEPS_A_WRITE = 1024


class JsonLinesHook:
    """Writes ``{"stream_id", "step", "start_ns", "duration_ns", "missed", "stages_ns"}`` lines.

    Args:
        path: where the file will stand after :meth:`close`.
        max_bytes: size at which it ends.

    Raises:
        InputError: no file can be made there.
    """

    def __init__(self, path: Path, *, max_bytes: int = 256 * 2**20) -> None:
        self._file = LineFile(path, max_bytes=max_bytes)
        self._pending: defaultdict[int, list[StageTiming]] = defaultdict(list)
        self._names: dict[str, str] = {}
        self._texts: dict[tuple[str, tuple[str, ...]], tuple[NumberedText, NumberedText]] = {}
        self._waiting = WaitingBlocks(self._write_block, _STEPS_A_WRITE)

    def on_stage(self, timing: StageTiming) -> None:
        """Keep a stage for the line of its step."""
        self._pending[get_ident()].append(timing)

    def on_step(self, timing: StepTiming) -> None:
        """Write the line."""
        stages = self._pending[get_ident()]
        # Written by hand: json.dumps takes longer than some of the stages.
        times = ",".join([f'"{stage.stage}":{stage.duration_ns}' for stage in stages])
        stages.clear()
        name = self._name(timing.stream_id)
        self._file.add(
            f'{{"stream_id":{name},"step":{timing.step},"start_ns":{timing.start_ns},'
            f'"duration_ns":{timing.duration_ns},"missed":{"true" if timing.missed else "false"},'
            f'"stages_ns":{{{times}}}}}\n'.encode()
        )

    def on_block(self, block: StepBlock) -> None:
        """Write the lines of many steps, some hundred at a time."""
        self._waiting.add(block)

    def _write_block(self, block: StepBlock) -> None:
        key = block.stream_id, block.stages
        texts = self._texts.get(key)
        if texts is None:
            texts = self._texts[key] = (self._text(*key, "false"), self._text(*key, "true"))
        in_time, late = texts
        n_steps, n_stages = block.starts_ns.shape
        numbers = np.empty((n_stages + 3, n_steps), np.int64)
        numbers[0] = np.arange(block.first, block.first + n_steps)
        numbers[1], numbers[2:] = block.times[:, 0], block.durations_ns.T
        lines = in_time.rows(numbers)
        if block.late:
            every = lines.splitlines(keepends=True)
            for row in block.late:
                every[row] = late.rows(numbers[:, row : row + 1])
            lines = b"".join(every)
        self._file.add(lines)

    def _text(self, stream_id: str, stages: tuple[str, ...], missed: str) -> NumberedText:
        parts: list[str | int] = [f'{{"stream_id":{self._name(stream_id)},"step":', 0]
        parts += [',"start_ns":', 1, ',"duration_ns":', len(stages) + 2]
        before = f',"missed":{missed},"stages_ns":{{'
        for i, stage in enumerate(stages):
            parts += [f"{before}{json.dumps(stage)}:", i + 2]
            before = ","
        return NumberedText([*parts, "}}\n"])

    def _name(self, stream_id: str) -> str:
        name = self._names.get(stream_id)
        if name is None:
            name = self._names[stream_id] = json.dumps(stream_id)
        return name

    def close(self) -> None:
        """Let the file appear.

        Raises:
            InputError: it cannot be written.
        """
        self._waiting.settle()
        self._file.finish()

    def discard_empty(self) -> bool:
        """Give the file up if it has no step, and say whether that was so."""
        self._waiting.settle()
        if not self._names:
            self._file.discard()
        return not self._names
