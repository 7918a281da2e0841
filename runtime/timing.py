"""Where the time of a step went, and the hooks that are told."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["STAGES", "Hook", "Hooks", "StageTiming", "StepTiming"]

log = logging.getLogger(__name__)

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


class Hook(Protocol):
    """Any object with these two methods; they are called in the thread of the stream."""

    def on_stage(self, timing: StageTiming) -> None:
        """Called for every stage, in order, after the step is done."""
        ...

    def on_step(self, timing: StepTiming) -> None:
        """Called once a step, after its stages."""
        ...


class Hooks:
    """Calls hooks; one that raises is told of once and left out from then on.

    One that holds the stream up for a good part of its deadline is told of once, too.
    """

    def __init__(self, hooks: Sequence[Hook]) -> None:
        self._hooks = list(hooks)
        self._slow: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def tell(self, stages: Sequence[StageTiming], step: StepTiming) -> None:
        """Tell every hook of a step."""
        clock = time.perf_counter_ns
        begin = clock()
        for hook in tuple(self._hooks):
            try:
                for stage in stages:
                    hook.on_stage(stage)
                hook.on_step(step)
            except Exception:  # whatever a hook does, the stream goes on
                log.exception(
                    "hook %r raised at step %d of stream %s and is left out from now on",
                    hook,
                    step.step,
                    step.stream_id,
                )
                self._hooks.remove(hook)
            end = clock()
            if end - begin > _SLOW_SHARE * step.deadline_ns and id(hook) not in self._slow:
                self._slow.add(id(hook))
                log.warning(
                    "hook %r took %.1f ms at step %d of stream %s, which has %.0f ms; "
                    "it should hand its work to another thread",
                    hook,
                    (end - begin) / 1e6,
                    step.step,
                    step.stream_id,
                    step.deadline_ns / 1e6,
                )
            begin = end
