"""The time of every step as JSON, one step a line."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from threading import get_ident

from edge_ser.runtime.hooks.line_file import LineFile
from edge_ser.runtime.timing import StageTiming, StepTiming

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
        name = self._names.get(timing.stream_id)
        if name is None:
            name = self._names[timing.stream_id] = json.dumps(timing.stream_id)
        self._file.add(
            f'{{"stream_id":{name},"step":{timing.step},"start_ns":{timing.start_ns},'
            f'"duration_ns":{timing.duration_ns},"missed":{"true" if timing.missed else "false"},'
            f'"stages_ns":{{{times}}}}}\n'
        )

    def close(self) -> None:
        """Let the file appear.

        Raises:
            InputError: it cannot be written.
        """
        self._file.finish()
