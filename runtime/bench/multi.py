"""Multi-stream: how many live microphones one thread serves in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import UsageError
from edge_ser.runtime.bench.audio import BenchAudio
from edge_ser.runtime.bench.summary import milliseconds
from edge_ser.runtime.recognizer import Recognizer

__all__ = ["Group", "MultiStream", "Trial", "multi_stream", "one_by_one", "together"]

_RESOLUTION = 20  # the search ends when it knows the number to one part in this


class Group(Protocol):
    """Streams that are fed together."""

    def push(self, chunks: Sequence[NDArray[np.int16]]) -> Any:
        """Take one step of samples for every stream and make every stream's event."""
        ...


@dataclass(frozen=True)
class Trial:
    """One number of streams that was tried.

    Attributes:
        streams: how many.
        tick_ns: ``(ticks,) int64``, from all chunks being there to the last event.
        deadline_ns: what a tick may take.
    """

    streams: int
    tick_ns: NDArray[np.int64]
    deadline_ns: int

    @property
    def held(self) -> bool:
        """Whether 99 of 100 ticks were in time, as MLPerf asks of multi-stream."""
        return milliseconds(self.tick_ns, ("p99",))["p99"] <= self.deadline_ns / 1e6

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        times = milliseconds(self.tick_ns, ("p50", "p99", "max"))
        late = int((self.tick_ns > self.deadline_ns).sum())
        return {"streams": self.streams, "held": self.held, "late_ticks": late, "tick_ms": times}


@dataclass(frozen=True)
class MultiStream:
    """The trials of a search.

    Attributes:
        trials: in the order they were made.
        way: how the streams were stepped.
    """

    trials: tuple[Trial, ...]
    way: str

    @property
    def streams(self) -> int:
        """The most streams that were held; 0 if not even one was."""
        return max((trial.streams for trial in self.trials if trial.held), default=0)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        trials = sorted(self.trials, key=lambda trial: trial.streams)
        return {
            "streams": self.streams,
            "way": self.way,
            "trials": [trial.to_dict() for trial in trials],
        }


class _OneByOne:
    def __init__(self, recognizer: Recognizer, n_streams: int) -> None:
        self._streams = [recognizer.stream(f"mic{i}") for i in range(n_streams)]

    def push(self, chunks: Sequence[NDArray[np.int16]]) -> None:
        for stream, chunk in zip(self._streams, chunks, strict=True):
            stream.push(chunk)


def one_by_one(recognizer: Recognizer, n_streams: int) -> Group:
    """Streams that are stepped one after the other."""
    return _OneByOne(recognizer, n_streams)


def together(recognizer: Recognizer, n_streams: int) -> Group:
    """Streams that take their steps together, in one call of the model where it can."""
    return recognizer.group(n_streams)


def multi_stream(
    recognizer: Recognizer,
    audio: BenchAudio,
    *,
    ticks: int = 50,
    seed: int = 0,
    make_group: Callable[[Recognizer, int], Group] = together,
    way: str | None = None,
    most: int = 4096,
) -> MultiStream:
    """Search for the most streams that one thread serves within the deadline of a step.

    Every tick brings one step of samples for every stream at once, the worst case. Ticks
    follow each other at once, so that the search is as quick as it can be; each stream hears
    another part of the audio.

    Args:
        ticks: steps of every stream in one trial, after 3 of warm-up.
        make_group: makes the streams of a trial.
        way: what ``make_group`` does, for the result; None to ask the group.
        most: number of streams at which the search ends.
    """
    if ticks < 2:
        raise UsageError(f"multi-stream needs at least 2 ticks a trial, got {ticks}")
    spec = recognizer.manifest.frontend
    deadline_ns = round(spec.step_ms * 1e6)
    if way is None:
        at_once = getattr(make_group(recognizer, 1), "at_once", False)
        way = "one model call for all" if at_once else "one after the other"

    def attempt(n_streams: int) -> Trial:
        group = make_group(recognizer, n_streams)
        size = spec.step_samples
        pcm = audio.take((ticks + 3) * size, seed)
        shifts = np.random.default_rng(seed).integers(ticks + 3, size=n_streams).tolist()
        steps = [pcm[i * size : (i + 1) * size] for i in range(ticks + 3)]
        taken: list[int] = []
        late = 0
        for tick in range(ticks + 3):
            chunks = [steps[(tick + shift) % len(steps)] for shift in shifts]
            begin = time.perf_counter_ns()
            group.push(chunks)
            if tick < 3:
                continue
            taken.append(time.perf_counter_ns() - begin)
            late += taken[-1] > deadline_ns
            if late > ticks // 100:  # it cannot be held any more
                break
        return Trial(n_streams, np.array(taken, np.int64), deadline_ns)

    trials = [attempt(1)]
    if not trials[0].held:
        return MultiStream(tuple(trials), way)
    low, high = 1, most + 1  # held, not held
    guess = _expected(trials[0], most)
    while high - low > max(1, low // _RESOLUTION):
        guess = min(max(guess, low + 1), high - 1)
        trial = attempt(guess)
        trials.append(trial)
        low, high = (guess, high) if trial.held else (low, guess)
        bound = high <= most
        # A guess from the clock gets near in one step; what it misses is found by halving.
        guess = (low + high) // 2 if bound else max(_expected(trial, most), low + low // 5)
    return MultiStream(tuple(trials), way)


def _expected(trial: Trial, most: int) -> int:
    """How many streams the median tick of ``trial`` lets hope for."""
    per_stream_ns = max(float(np.median(trial.tick_ns)) / trial.streams, 1.0)
    return max(1, min(most, int(0.95 * trial.deadline_ns / per_stream_ns)))
