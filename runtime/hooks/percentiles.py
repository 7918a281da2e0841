"""Percentiles of every stage over any length of time, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import MissingExtra
from edge_ser.runtime.timing import StageTiming, StepBlock, StepTiming

__all__ = ["PercentilesHook"]

_UNIT_NS = 10  # fine enough for a stage of a microsecond
_LONGEST_NS = 60_000_000_000  # what is longer counts as this
_DIGITS = 3  # a value is right to one part in a thousand
_BATCH = 4096
_BATCH_OF_BLOCKS = 16384  # they wait in arrays, which are smaller


class PercentilesHook:
    """HDR histograms (hdrhistogram.org), one of the step and one of every stage.

    Durations are collected and put into the histograms some thousand at a time, so that a
    step pays for an append only.

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
        self._blocks: dict[str, list[NDArray[np.int64]]] = {}
        self._in_blocks = 0  # steps
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
        durations = block.durations_ns
        for name, column in zip((*block.stages, "step"), durations.T, strict=True):
            self._blocks.setdefault(name, []).append(column)
        self._misses += len(block.late)
        self._in_blocks += len(durations)
        if self._in_blocks >= _BATCH_OF_BLOCKS:
            self._settle()

    @property
    def deadline_misses(self) -> int:
        """Steps that came too late."""
        return self._misses

    def snapshot(self) -> dict[str, dict[str, float]]:
        """By stage and ``step``: ``count`` and p50, p90, p99, p999 and max in milliseconds."""
        self._settle()
        result: dict[str, dict[str, float]] = {}
        for name, histogram in self._histograms.items():
            result[name] = {"count": histogram.get_total_count()}
            for key, share in (("p50", 50), ("p90", 90), ("p99", 99), ("p999", 99.9)):
                result[name][key] = histogram.get_value_at_percentile(share) * _UNIT_NS / 1e6
            result[name]["max"] = histogram.get_max_value() * _UNIT_NS / 1e6
        return result

    def _settle(self) -> None:
        for name in self._waiting.keys() | self._blocks.keys():
            durations = np.array(self._waiting.get(name, ()), np.int64)
            durations = np.concatenate([durations, *self._blocks.get(name, ())])
            if not len(durations):
                continue
            histogram = self._histograms.get(name)
            if histogram is None:
                histogram = self._histograms[name] = self._new()
            # Equal values are recorded once with their number.
            values, counts = np.unique(_units(durations), return_counts=True)
            for value, count in zip(values.tolist(), counts.tolist(), strict=True):
                histogram.record_value(value, count)
        for waiting in self._waiting.values():
            waiting.clear()
        self._blocks.clear()
        self._in_blocks = 0


def _units(durations_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Units of the histogram; a clock that jumped gives no negative duration."""
    values = np.clip(durations_ns, 0, _LONGEST_NS) // _UNIT_NS
    # Drop digits that the histogram drops too, so that more values are equal.
    shifts = np.maximum(np.frexp(values)[1] - 11, 0)
    units: NDArray[np.int64] = values >> shifts << shifts
    return units
