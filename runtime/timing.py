"""Where the time of a step went, and the hooks that are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter_ns as clock
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import logging

__all__ = [
    "BLOCK_STEPS",
    "STAGES",
    "BlockHook",
    "Hook",
    "Hooks",
    "StageTiming",
    "StepBlock",
    "StepTiming",
    "clock",
]

BLOCK_STEPS = 128
"""Steps of which a ``BlockHook`` is told at once, at most."""
_BLOCK_NS = 1_000_000_000

STAGES = ("capture", "resample", "gate", "frontend", "infer", "post", "publish")
"""Names of stages, in the order in which samples pass them."""

_SLOW_SHARE = 0.25  # of the deadline


@dataclass(slots=True)
class StageTiming:
    """One stage of one step.

    Attributes:
        stage: one of ``STAGES``.
        step: number of the step in its stream, from 0.
        start_ns: monotonic clock (``time.perf_counter_ns``).
        duration_ns: how long it took.
    """

    stage: str
    step: int
    start_ns: int
    duration_ns: int


@dataclass(slots=True)
class StepTiming:
    """One whole step, from its last sample being there to its event being ready.

    Attributes:
        stream_id: name of the stream.
        step: number of the step in its stream, from 0.
        start_ns: monotonic clock (``time.perf_counter_ns``).
        duration_ns: how long it took.
        deadline_ns: how long it may take to keep up with live audio.
    """

    stream_id: str
    step: int
    start_ns: int
    duration_ns: int
    deadline_ns: int

    @property
    def missed(self) -> bool:
        """Whether the step took longer than the audio that it covers."""
        return self.duration_ns > self.deadline_ns


class StepBlock:
    """Some steps of one stream that follow each other, told of at once; not to be changed.

    Attributes:
        stream_id: name of the stream.
        first: number of the first of these steps in its stream.
        deadline_ns: how long a step may take to keep up with live audio.
        stages: names of the stages of a step, in order.
        times: one row a step: when it began, then when each stage ended (``perf_counter_ns``).
        starts_ns: ``(steps, stages) int64``, when each stage began.
        durations_ns: ``(steps, stages + 1) int64``, of each stage, then of the whole step;
            never negative.
        late: numbers, counted from ``first``, of the steps that took longer than the deadline.
    """

    __slots__ = (
        "deadline_ns", "durations_ns", "first", "late", "stages", "starts_ns", "stream_id", "times"
    )  # fmt: skip

    def __init__(
        self,
        stream_id: str,
        first: int,
        deadline_ns: int,
        stages: tuple[str, ...],
        times: list[tuple[int, ...]],
    ) -> None:
        self.stream_id, self.first, self.deadline_ns = stream_id, first, deadline_ns
        self.stages, self.times = stages, times
        table = np.array(times, np.int64)
        durations = np.empty_like(table)
        np.subtract(table[:, 1:], table[:, :-1], out=durations[:, :-1])
        np.subtract(table[:, -1], table[:, 0], out=durations[:, -1])
        self.starts_ns: NDArray[np.int64] = table[:, :-1]
        self.durations_ns: NDArray[np.int64] = np.maximum(durations, 0, out=durations)
        self.late: list[int] = np.flatnonzero(durations[:, -1] > deadline_ns).tolist()


class Hook(Protocol):
    """Any object with these two methods; they are called in the thread of the stream."""

    def on_stage(self, timing: StageTiming) -> None:
        """Called for every stage, in order, after the step is done."""
        ...

    def on_step(self, timing: StepTiming) -> None:
        """Called once a step, after its stages."""
        ...


class BlockHook(Hook, Protocol):
    """A hook that rather hears of many steps at once, which costs far less.

    It is told of up to ``BLOCK_STEPS`` steps, of at most about a second; at once of a step that
    was late, and of the rest when the stream ends.
    """

    def on_block(self, block: StepBlock) -> None:
        """Called instead of the methods for a single step."""
        ...


class Hooks:
    """Calls hooks; one that raises is told of once and left out from then on.

    One that holds the stream up for a good part of its deadline is told of once, too.

    Args:
        stream_id: name of the stream.
        deadline_ns: how long a step may take.
        stages: of a step, in order.
    """

    def __init__(
        self, hooks: Sequence[Hook], stream_id: str, deadline_ns: int, stages: tuple[str, ...]
    ) -> None:
        self._each = [hook for hook in hooks if not hasattr(hook, "on_block")]
        self._blocks = [hook for hook in hooks if hasattr(hook, "on_block")]
        self._stream_id, self._deadline_ns, self._stages = stream_id, deadline_ns, stages
        self._times: list[tuple[int, ...]] = []
        self._until = 0  # when the block is told at the latest
        self._next = 0  # number of the step after the block
        self._slow: set[int] = set()

    def record(self, step: int, times: tuple[int, ...]) -> None:
        """Tell of a step, or keep it for the next block.

        Args:
            times: when it began, then when each stage ended (``perf_counter_ns``).
        """
        begin, end = times[0], times[-1]
        if self._each:
            self._tell(step, times)
        if self._blocks:
            block = self._times
            if not block:
                self._until = begin + _BLOCK_NS
            block.append(times)
            self._next = step + 1
            if (
                len(block) >= BLOCK_STEPS
                or end >= self._until
                or end < begin
                or end - begin > self._deadline_ns
            ):
                self.settle()

    def settle(self) -> None:
        """Tell of the block as far as it goes."""
        if not self._times:
            return
        times, self._times = self._times, []
        first = self._next - len(times)
        block = StepBlock(self._stream_id, first, self._deadline_ns, self._stages, times)
        for hook in tuple(self._blocks):
            tell = partial(cast(BlockHook, hook).on_block, block)
            self._call(hook, self._blocks, self._next - 1, tell)

    def _tell(self, step: int, times: tuple[int, ...]) -> None:
        stages = [
            StageTiming(name, step, start, end - start)
            for name, start, end in zip(self._stages, times[:-1], times[1:], strict=True)
        ]
        whole = StepTiming(self._stream_id, step, times[0], times[-1] - times[0], self._deadline_ns)

        def tell(hook: Hook) -> None:
            for stage in stages:
                hook.on_stage(stage)
            hook.on_step(whole)

        for hook in tuple(self._each):
            self._call(hook, self._each, step, partial(tell, hook))

    def _call(self, hook: Hook, among: list[Hook], step: int, tell: Callable[[], None]) -> None:
        begin = clock()
        try:
            tell()
        except Exception:  # whatever a hook does, the stream goes on
            _log().exception(
                "hook %r raised at step %d of stream %s and is left out from now on",
                hook,
                step,
                self._stream_id,
            )
            among.remove(hook)
            return
        took = clock() - begin
        if took > _SLOW_SHARE * self._deadline_ns and id(hook) not in self._slow:
            self._slow.add(id(hook))
            _log().warning(
                "hook %r took %.1f ms at step %d of stream %s, which has %.0f ms; "
                "it should hand its work to another thread",
                hook,
                took / 1e6,
                step,
                self._stream_id,
                self._deadline_ns / 1e6,
            )


def _log() -> logging.Logger:
    import logging  # a start without trouble does without it

    return logging.getLogger(__name__)
