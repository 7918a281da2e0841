"""Percentiles of every stage over any length of time, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import MissingExtra
from edge_ser.runtime.hooks.waiting_blocks import WaitingBlocks
from edge_ser.runtime.step_block import StepBlock
from edge_ser.runtime.timing import StageTiming, StepTiming

__all__ = ["PercentilesHook"]

_UNIT_NS = 10  # fine enough for a stage of a microsecond
_LONGEST_NS = 60_000_000_000  # what is longer counts as this
_DIGITS = 3  # a value is right to one part in a thousand
_BATCH = 4096
_MANTISSA = 10  # bits of a value that the histogram keeps, besides the first


class PercentilesHook:
    """HDR histograms (hdrhistogram.org), one of the step and one of every stage.

    Durations are collected and counted some thousand at a time, so that a step pays for an
    append only; the histograms are filled when they are asked.

    Raises:
        MissingExtra: hdrhistogram is not installed.
    """

    def __init__(self) -> None:
        try:
            from hdrh.histogram import HdrHistogram
        except ImportError:
            raise MissingExtra("hdrhistogram", "profile", "keep percentiles of a stream") from None
        self._new: Callable[[], Any] = lambda: HdrHistogram(1, _LONGEST_NS // _UNIT_NS, _DIGITS)
        self._histograms: dict[str, Any] = {}
        self._waiting: dict[str, list[int]] = {"step": []}
        self._blocks = WaitingBlocks(self._count_block, _BATCH)
        self._counts: dict[str, NDArray[np.int64]] = {}  # by cell, not yet in the histograms
        self._lock = Lock()
        self._misses = 0

    def on_stage(self, timing: StageTiming) -> None:
        """Count a stage."""
        try:
            self._waiting[timing.stage].append(timing.duration_ns)
        except KeyError:
            self._waiting[timing.stage] = [timing.duration_ns]

    def on_step(self, timing: StepTiming) -> None:
        """Count a step."""
        steps = self._waiting["step"]
        steps.append(timing.duration_ns)
        if timing.missed:
            self._misses += 1
        if len(steps) >= _BATCH:
            self._settle()

    def on_block(self, block: StepBlock) -> None:
        """Count many steps."""
        self._blocks.add(block)

    def _count_block(self, block: StepBlock) -> None:
        for name, column in zip((*block.stages, "step"), block.durations_ns.T, strict=True):
            self._count(name, column)
        self._misses += len(block.late)

    @property
    def deadline_misses(self) -> int:
        """Steps that came too late."""
        self._blocks.settle()
        return self._misses

    def snapshot(self) -> dict[str, dict[str, float]]:
        """By stage and ``step``: ``count`` and p50, p90, p99, p999 and max in milliseconds."""
        self._settle()
        self._blocks.settle()
        with self._lock:
            waiting, self._counts = self._counts, {}
        for name, counts in waiting.items():
            histogram = self._histograms.get(name)
            if histogram is None:
                histogram = self._histograms[name] = self._new()
            cells = counts.nonzero()[0]
            values = _smallest(cells).tolist()
            for value, count in zip(values, counts[cells].tolist(), strict=True):
                histogram.record_value(value, count)
        result: dict[str, dict[str, float]] = {}
        for name, histogram in self._histograms.items():
            result[name] = {"count": histogram.get_total_count()}
            for key, share in (("p50", 50), ("p90", 90), ("p99", 99), ("p999", 99.9)):
                result[name][key] = histogram.get_value_at_percentile(share) * _UNIT_NS / 1e6
            result[name]["max"] = histogram.get_max_value() * _UNIT_NS / 1e6
        return result

    def _settle(self) -> None:
        for name, waiting in self._waiting.items():
            if waiting:
                self._count(name, np.array(waiting, np.int64))
                waiting.clear()

    def _count(self, name: str, durations_ns: NDArray[np.int64]) -> None:
        """Count in cells as fine as the histogram's, in a call or two for thousands of values.

        The histogram takes one value at a time; so it gets each cell once, when it is asked.
        """
        more = np.bincount(_cells(durations_ns))
        with self._lock:
            counts = self._counts.get(name)
            if counts is None or len(counts) < len(more):
                counts, more = more, np.zeros(0, np.int64) if counts is None else counts
            counts[: len(more)] += more
            self._counts[name] = counts


def _cells(durations_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cell of each duration; a clock that jumped gives no negative one."""
    values = np.clip(durations_ns, 0, _LONGEST_NS) // _UNIT_NS
    shifts = np.maximum(np.frexp(values)[1] - (_MANTISSA + 1), 0)
    cells: NDArray[np.int64] = (values >> shifts) + (shifts << _MANTISSA)
    return cells


def _smallest(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """The smallest value of each cell, in units of the histogram."""
    shifts = np.maximum((cells >> _MANTISSA) - 1, 0)
    values: NDArray[np.int64] = (cells - (shifts << _MANTISSA)) << shifts
    return values
