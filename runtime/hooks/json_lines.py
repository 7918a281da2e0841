"""The time of every step as JSON, one step a line."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from threading import get_ident

import numpy as np

from edge_ser.runtime.hooks.line_file import LineFile
from edge_ser.runtime.timing import StageTiming, StepBlock, StepTiming

__all__ = ["JsonLinesHook"]


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
        self._templates: dict[tuple[str, tuple[str, ...]], tuple[bytes, bytes]] = {}

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
        """Write the lines of many steps with one formatting."""
        durations = block.durations_ns
        lines_of = self._templates.get((block.stream_id, block.stages))
        if lines_of is None:
            lines_of = self._template(block.stream_id, block.stages)
            self._templates[block.stream_id, block.stages] = lines_of
        in_time, late = lines_of
        steps, n_stages = block.starts_ns.shape
        table = np.empty((steps, n_stages + 3), np.int64)
        table[:, 0] = np.arange(block.first, block.first + steps)
        table[:, 1] = block.starts_ns[:, 0]
        table[:, 2], table[:, 3:] = durations[:, -1], durations[:, :-1]
        lines = [in_time] * steps
        for row in block.late:
            lines[row] = late
        self._file.add(b"".join(lines) % tuple(table.ravel().tolist()))

    def _template(self, stream_id: str, stages: tuple[str, ...]) -> tuple[bytes, bytes]:
        """Lines of a step in time and of one too late, with places for the numbers."""
        inside = ",".join(f"{json.dumps(stage)}:\0" for stage in stages)
        line = (
            (
                f'{{"stream_id":{self._name(stream_id)},"step":\0,"start_ns":\0,'
                f'"duration_ns":\0,"missed":\1,"stages_ns":{{{inside}}}}}\n'
            )
            .replace("%", "%%")
            .replace("\0", "%d")
        )
        return line.replace("\1", "false").encode(), line.replace("\1", "true").encode()

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
        self._file.finish()
