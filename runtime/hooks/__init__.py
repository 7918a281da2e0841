"""Ready-made hooks; each is imported from its own module, with what it needs.

``percentiles`` (bounded memory), ``json_lines``, ``deadline``, ``prometheus``, ``nvtx_ranges``,
``node_profile``, and the trace in ``edge_ser.runtime.trace``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_ser.runtime.recognizer import Recognizer
    from edge_ser.runtime.timing import Hook

__all__ = ["every_hook"]


@contextmanager
def every_hook(folder: Path, recognizer: Recognizer) -> Iterator[list[Hook]]:
    """All ready-made hooks of steps at once, to see what they cost; files go into ``folder``.

    The board is not looked at: ``BoardSampler`` does that by the clock, in a thread of its own,
    however many steps there are.

    Raises:
        MissingExtra: the profile extra is not installed.
    """
    from edge_ser.runtime.hooks.deadline import DeadlineWatcher
    from edge_ser.runtime.hooks.json_lines import JsonLinesHook
    from edge_ser.runtime.hooks.percentiles import PercentilesHook
    from edge_ser.runtime.hooks.prometheus import PrometheusHook
    from edge_ser.runtime.trace import TraceHook

    percentiles, metrics = PercentilesHook(), PrometheusHook(recognizer)
    with ExitStack() as stack:
        trace = TraceHook(folder / "trace.json")
        stack.callback(trace.close)
        lines = JsonLinesHook(folder / "steps.jsonl")
        stack.callback(lines.close)
        yield [percentiles, metrics, trace, lines, DeadlineWatcher()]
