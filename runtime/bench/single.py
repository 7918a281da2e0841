"""Single stream: one microphone, one step at a time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import InputError
from edge_ser.events import Latency
from edge_ser.runtime.bench.audio import Samples
from edge_ser.runtime.recognizer import Recognizer
from edge_ser.runtime.timing import Hook

__all__ = ["INNER_STAGES", "StepTimes", "single_stream"]

INNER_STAGES = tuple(field.name for field in fields(Latency) if field.name != "total")
"""Stages that an event tells the time of, without any hook."""


@dataclass(frozen=True)
class StepTimes:
    """What every step of one stream took, warm-up left out.

    Attributes:
        step_ns: ``(steps,) int64``, samples in to event out: one call of ``Stream.push``.
        stage_ns: by stage ``(steps,) int64``. ``capture`` is taking the samples over and
            handing the event out, ``publish`` writing the event as JSON, which comes after the
            step and is no part of ``step_ns``.
        age_ns: ``(steps,) int64``, from the moment the last sample was due to the event, when
            the stream was paced; None when it was fed as fast as possible.
        deadline_ns: what a step may take.
        cpu_ns: processor time of the process over all these steps.
        wall_ns: time from the first to the last step.
    """

    step_ns: NDArray[np.int64]
    stage_ns: dict[str, NDArray[np.int64]]
    age_ns: NDArray[np.int64] | None
    deadline_ns: int
    cpu_ns: int
    wall_ns: int

    @property
    def deadline_misses(self) -> int:
        """Steps that took longer than the audio they cover."""
        return int((self.step_ns > self.deadline_ns).sum())

    @property
    def real_time_factor(self) -> float:
        """Time spent in steps per time of audio; above 1 a live stream falls behind."""
        return float(self.step_ns.sum()) / (self.deadline_ns * len(self.step_ns))

    @property
    def n_bytes(self) -> int:
        """Memory that these notes take, 8 bytes a value."""
        ages = () if self.age_ns is None else (self.age_ns,)
        return sum(values.nbytes for values in (self.step_ns, *self.stage_ns.values(), *ages))


def single_stream(
    recognizer: Recognizer,
    pcm: Samples,
    *,
    warmup_steps: int = 50,
    paced: bool = False,
    hooks: Sequence[Hook] = (),
) -> StepTimes:
    """Stream ``pcm`` a step at a time and note what each step took.

    Args:
        pcm: ``(n,) int16`` at the recognizer's rate, taken a step at a time; the first
            ``warmup_steps`` steps of it are streamed, not counted.
        warmup_steps: steps before counting begins.
        paced: wait for each chunk as long as a microphone would need to record it.
        hooks: told of every step, which then costs what they cost.

    Raises:
        InputError: ``pcm`` is too short for one step after the warm-up.
    """
    spec = recognizer.manifest.frontend
    size = spec.step_samples
    n_steps = len(pcm) // size - warmup_steps
    if n_steps < 1:
        raise InputError(
            f"{len(pcm) / spec.rate_hz:.1f} s of audio are too short to bench: {warmup_steps} "
            f"steps of warm-up and one to count need "
            f"{(warmup_steps + 1) * spec.step_ms / 1000:.1f} s"
        )
    deadline_ns = round(spec.step_ms * 1e6)
    pushed = np.zeros(n_steps, np.int64)
    published = np.zeros(n_steps, np.int64)
    ages = np.zeros(n_steps, np.int64)
    inner = np.zeros((n_steps, len(INNER_STAGES)))
    clock = time.perf_counter_ns
    with recognizer.stream("bench", hooks=hooks) as stream:
        for step in range(warmup_steps):
            stream.push(pcm[step * size : (step + 1) * size])[0].to_json()
        cpu, wall = time.process_time_ns(), clock()
        due = wall
        for step in range(n_steps):
            start = (warmup_steps + step) * size
            chunk = pcm[start : start + size]
            if paced:
                due += deadline_ns
                wait = due - clock()
                if wait > 0:
                    time.sleep(wait * 1e-9)
            begin = clock()
            event = stream.push(chunk)[0]
            end = clock()
            event.to_json()
            published[step] = clock() - end
            pushed[step] = end - begin
            ages[step] = end - due
            latency = event.latency_ms
            inner[step] = [getattr(latency, name) for name in INNER_STAGES]
        cpu, wall = time.process_time_ns() - cpu, clock() - wall
    inside = {name: np.round(inner[:, i] * 1e6).astype(np.int64) for i, name in _stages()}
    for taken in (pushed, published, ages):
        np.maximum(taken, 0, out=taken)  # of a clock that was set back
    rest = np.maximum(pushed - sum(inside.values()), 0)
    return StepTimes(
        pushed,
        {"capture": rest, **inside, "publish": published},
        ages if paced else None,
        deadline_ns,
        cpu,
        max(wall, 0),
    )


def _stages() -> list[tuple[int, str]]:
    return list(enumerate(INNER_STAGES))
