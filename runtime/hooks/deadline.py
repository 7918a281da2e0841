"""Say which stage made a step come too late."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from edge_ser.events import Event
from edge_ser.runtime.hooks.waiting_blocks import WaitingBlocks
from edge_ser.runtime.step_block import StepBlock
from edge_ser.runtime.timing import StageTiming, StepTiming

__all__ = ["DeadlineWatcher"]

_KEEP = 0.98  # of the usual duration per step, a memory of about 50 steps
_STEPS_A_LESSON = 512
_MOST_WAITING = 1000


class Noticing(Protocol):
    """A ``Stream`` or a ``LiveStream``."""

    def notice(self, type: str, **detail: Any) -> Event:  # noqa: A002 - the event's own word
        """An event with the next number of the stream."""
        ...


class DeadlineWatcher:
    """Makes a ``deadline.miss`` event of every step that took longer than its audio.

    The guilty stage is the one that took most beyond its usual time, a running mean over the
    steps that were in time. One watcher watches one stream::

        watcher = DeadlineWatcher()
        with recognizer.stream(hooks=[watcher]) as stream:
            for event in [*stream.push(pcm), *watcher.events(stream)]:
                ...
    """

    def __init__(self) -> None:
        self._usual_ns: dict[str, float] = {}
        self._stages: list[StageTiming] = []
        self._unlearnt = WaitingBlocks(self._learn, _STEPS_A_LESSON)
        self._waiting: deque[dict[str, Any]] = deque(maxlen=_MOST_WAITING)
        self.misses = 0

    def on_stage(self, timing: StageTiming) -> None:
        """Keep a stage until its step is known to be in time or late."""
        self._stages.append(timing)

    def on_step(self, timing: StepTiming) -> None:
        """Learn from a step that was in time, note one that was late."""
        if timing.missed:
            self._note(timing)
        else:
            usual = self._usual_ns
            for stage in self._stages:
                duration_ns = max(stage.duration_ns, 0)
                before = usual.get(stage.stage, duration_ns)
                usual[stage.stage] = _KEEP * before + (1 - _KEEP) * duration_ns
        self._stages.clear()

    def on_block(self, block: StepBlock) -> None:
        """Learn from many steps that were in time; a late one is looked at by itself."""
        if not block.late:
            self._unlearnt.add(block)
            return
        self._unlearnt.settle()
        for step, times in enumerate(block.times.tolist(), block.first):
            for name, (start, end) in zip(block.stages, pairwise(times), strict=True):
                self.on_stage(StageTiming(name, step, start, end - start))
            took_ns = times[-1] - times[0]
            self.on_step(StepTiming(block.stream_id, step, times[0], took_ns, block.deadline_ns))

    def _learn(self, block: StepBlock) -> None:
        durations = block.durations_ns[:, :-1]
        n_steps = len(durations)
        weights = (1 - _KEEP) * _KEEP ** np.arange(n_steps - 1, -1, -1)
        usual = (weights @ durations.astype(float)).tolist()
        for stage, first, mean in zip(block.stages, durations[0].tolist(), usual, strict=True):
            before = self._usual_ns.get(stage, first)
            self._usual_ns[stage] = _KEEP**n_steps * before + mean

    def events(self, stream: Noticing) -> list[Event]:
        """The events of the late steps since the last call, oldest first.

        At most a thousand wait; when nobody asks, older ones are forgotten, and counted
        nevertheless in ``misses``.
        """
        if not self._waiting:
            return []
        events = [stream.notice("deadline.miss", **detail) for detail in self._waiting]
        self._waiting.clear()
        return events

    def _note(self, timing: StepTiming) -> None:
        self.misses += 1
        beyond = {
            stage.stage: stage.duration_ns - self._usual_ns.get(stage.stage, 0.0)
            for stage in self._stages
        }
        detail: dict[str, Any] = {
            "step": timing.step,
            "took_ms": round(timing.duration_ns / 1e6, 3),
            "deadline_ms": round(timing.deadline_ns / 1e6, 3),
            "misses": self.misses,
        }
        if beyond:
            guilty = max(beyond, key=lambda name: beyond[name])
            taken = sum(stage.duration_ns for stage in self._stages if stage.stage == guilty)
            detail["stage"] = guilty
            detail["stage_ms"] = round(taken / 1e6, 3)
            if guilty in self._usual_ns:
                detail["usual_ms"] = round(self._usual_ns[guilty] / 1e6, 3)
        self._waiting.append(detail)
