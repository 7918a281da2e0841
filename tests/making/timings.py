"""Timings of steps that never ran, for hooks."""

from __future__ import annotations

from edge_ser.runtime import StageTiming, StepTiming

__all__ = ["MS", "tell"]

MS = 1_000_000


def tell(hook, step: int, *, stages=(("frontend", 1), ("infer", 2)), stream="mic", deadline=80):
    """One step that begins at ``step`` times 80 ms, with stages of so many milliseconds."""
    start = now = step * 80 * MS
    for name, took in stages:
        hook.on_stage(StageTiming(name, step, now, took * MS))
        now += took * MS
    hook.on_step(StepTiming(stream, step, start, now - start, deadline * MS))
