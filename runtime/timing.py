"""Where the time of a step went, and the hooks that are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns as clock
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from edge_ser.runtime.hook_faults import HookFaults

if TYPE_CHECKING:
    from edge_ser.runtime.step_block import StepBlock

__all__ = [
    "BLOCK_STEPS",
    "STAGES",
    "BlockHook",
    "Hook",
    "Hooks",
    "StageTiming",
    "StepTiming",
    "clock",
]

BLOCK_STEPS = 128
"""Steps of which a ``BlockHook`` is told at once, at most."""
_BLOCK_NS = 2_000_000_000

STAGES = ("capture", "resample", "gate", "frontend", "infer", "post", "publish")
"""Names of stages, in the order in which samples pass them.

Every step has ``frontend``, ``infer`` and ``post``. A step of a live stream has ``gate``, too,
the speech gate's windows since the step before; and where a ``Listener`` feeds it ``capture``, from
the last sample being in the buffer until the stream takes it, less the time for which the step
before held it up; ``resample``, where the source has another rate; and ``publish``, the handing on
of events, which counts for the last of the steps whose events became due together.
"""

H = TypeVar("H")
T = TypeVar("T")

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

    With all its stages: where a ``Listener`` feeds the stream, until its event is handed on.

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

    It is told of up to ``BLOCK_STEPS`` steps, of at most about two seconds; at once of a step that
    was late, and of the rest when an utterance or the stream ends.
    """

    def on_block(self, block: StepBlock) -> None:
        """Called instead of the methods for a single step."""
        ...


class Hooks:
    """Calls hooks; one that raises is told of once and left out from then on.

    One that holds the stream up for a good part of its deadline is told of once, too. Both
    hold for all streams that share ``faults``, as those of a recognizer do.

    Args:
        stream_id: name of the stream.
        deadline_ns: how long a step may take.
        stages: of a step, in order.
        faults: shared by the streams that a hook's fault concerns; None for this one alone.
    """

    def __init__(
        self,
        hooks: Sequence[Hook],
        stream_id: str,
        deadline_ns: int,
        stages: tuple[str, ...],
        faults: HookFaults | None = None,
    ) -> None:
        self._each = [hook for hook in hooks if not hasattr(hook, "on_block")]
        self._blocks = [cast(BlockHook, hook) for hook in hooks if hasattr(hook, "on_block")]
        self._stream_id, self._deadline_ns, self.stages = stream_id, deadline_ns, stages
        self._times: list[int] = []  # of the steps of the block, one row after the other
        self._first = 0  # number of the first of these steps
        self._full = 0  # number of the step with which the block is full
        self._until = -1  # when it is told at the latest; -1 when there is none
        self._faults = HookFaults() if faults is None else faults

    def record(self, step: int, times: tuple[int, ...]) -> None:
        """Tell of a step, or keep it for the next block.

        Args:
            times: when it began, then when each stage ended (``perf_counter_ns``).
        """
        if self._each:
            self._tell(step, times)
        if self._blocks:
            self._times += times
            begin, end = times[0], times[-1]
            if self._until < 0:
                self._first, self._full = step, step + BLOCK_STEPS - 1
                self._until = begin + _BLOCK_NS
            if (
                end >= self._until
                or step >= self._full
                or not begin <= end <= begin + self._deadline_ns
            ):
                self.settle()

    def rename(self, stages: tuple[str, ...]) -> None:
        """Let steps from now on have these stages."""
        self.settle()
        self.stages = stages

    def settle_old(self) -> None:
        """Tell of the block if it has waited its time; for while no steps are taken."""
        if self._until >= 0 and clock() >= self._until:
            self.settle()

    def settle(self) -> None:
        """Tell of the block as far as it goes."""
        if not self._times:
            return
        import numpy as np  # by now it is there; without such hooks nothing here needs it

        from edge_ser.runtime.step_block import StepBlock

        rows, n_columns = self._times, len(self.stages) + 1
        self._times, self._until = [], -1
        times = np.array(rows, np.int64).reshape(-1, n_columns)
        # A late step ends its block, so it can only be the last one.
        late = [len(times) - 1] if rows[-1] - rows[-n_columns] > self._deadline_ns else []
        block = StepBlock(self._stream_id, self._first, self._deadline_ns, self.stages, times, late)
        for hook in tuple(self._blocks):
            self._call(hook, self._blocks, block.end - 1, hook.on_block, block)

    def _tell(self, step: int, times: tuple[int, ...]) -> None:
        stages = [
            StageTiming(name, step, start, end - start)
            for name, start, end in zip(self.stages, times[:-1], times[1:], strict=True)
        ]
        whole = StepTiming(self._stream_id, step, times[0], times[-1] - times[0], self._deadline_ns)

        def tell(hook: Hook) -> None:
            for stage in stages:
                hook.on_stage(stage)
            hook.on_step(whole)

        for hook in tuple(self._each):
            self._call(hook, self._each, step, tell, hook)

    def _call(self, hook: H, among: list[H], step: int, tell: Callable[[T], None], what: T) -> None:
        if self._faults.left_out(hook):
            _leave_out(hook, among)
            return
        begin = clock()
        try:
            tell(what)
        except Exception:  # whatever a hook does, the stream goes on
            self._faults.raised(hook, step, self._stream_id)
            _leave_out(hook, among)
            return
        took = clock() - begin
        if took > _SLOW_SHARE * self._deadline_ns:
            self._faults.slow(hook, took, step, self._stream_id, self._deadline_ns)


def _leave_out(hook: H, among: list[H]) -> None:
    # Not list.remove: equal hooks are not the same one, and what == does is the user's.
    among[:] = [other for other in among if other is not hook]
