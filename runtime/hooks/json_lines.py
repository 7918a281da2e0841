"""The time of every step as JSON, one step a line."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from threading import get_ident

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
            f'"stages_ns":{{{times}}}}}\n'
        )

    def on_block(self, block: StepBlock) -> None:
        """Write the lines of many steps with one formatting."""
        starts, durations = block.starts_ns(), block.durations_ns()
        missed = durations[:, -1] > block.deadline_ns
        stages = ",".join(f"{json.dumps(stage)}:\0" for stage in block.stages)
        line = (
            (
                f'{{"stream_id":{self._name(block.stream_id)},"step":\0,"start_ns":\0,'
                f'"duration_ns":\0,"missed":\0,"stages_ns":{{{stages}}}}}\n'
            )
            .replace("%", "%%")
            .replace("\0", "%s")
        )
        columns: list[Iterable[int | str]] = [
            range(block.first, block.first + len(starts)),
            starts[:, 0].tolist(),
            durations[:, -1].tolist(),
            ["true" if late else "false" for late in missed.tolist()],
            *durations[:, :-1].T.tolist(),
        ]
        rows = zip(*columns, strict=True)
        self._file.add((line * len(starts)) % tuple(chain.from_iterable(rows)))

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
