"""Multi-stream: how many live microphones one process serves in time."""

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

__all__ = [
    "Group",
    "Load",
    "MultiStream",
    "Trial",
    "multi_stream",
    "one_by_one",
    "search",
    "together",
]

_RESOLUTION = 20  # the search ends when it knows the number to one part in this
_WARM_UP = 3  # ticks


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
        return {
            "streams": self.streams,
            "held": self.held,
            "ticks": len(self.tick_ns),
            "late_ticks": late,
            "tick_ms": times,
        }


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
    """Search for the most streams that this process serves within the deadline of a step.

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
    deadline_ns = round(recognizer.manifest.frontend.step_ms * 1e6)
    if way is None:
        at_once = getattr(make_group(recognizer, 1), "at_once", False)
        way = "one model call for all" if at_once else "one after the other"

    def attempt(n_streams: int) -> Trial:
        load = Load(recognizer, make_group(recognizer, n_streams), audio, n_streams, ticks, seed)
        return Trial(n_streams, load.timed(ticks, deadline_ns), deadline_ns)

    return MultiStream(search(attempt, most=most), way)


def search(
    attempt: Callable[[int], Trial], *, guess: int = 1, most: int = 4096
) -> tuple[Trial, ...]:
    """Try numbers of streams until the most that is held is known to one part in twenty.

    Args:
        guess: the number to begin with.
        most: number at which the search ends.
    """
    trials = [attempt(guess)]
    low, high = (guess, most + 1) if trials[0].held else (0, guess)  # held, not held
    guess = _expected(trials[0], most)
    while high - low > max(1, low // _RESOLUTION):
        guess = min(max(guess, low + 1), high - 1)
        trial = attempt(guess)
        trials.append(trial)
        low, high = (guess, high) if trial.held else (low, guess)
        bound = high <= most
        # A guess from the clock gets near in one step; what it misses is found by halving.
        guess = (low + high) // 2 if bound else max(_expected(trial, most), low + low // 5)
    return tuple(trials)


class Load:
    """Streams that all get a step of samples at once, tick after tick.

    Each hears another part of the audio.

    Args:
        group: of ``n_streams`` streams.
        ticks: that will be timed; audio for so many is kept.
        seed: chooses the parts.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        group: Group,
        audio: BenchAudio,
        n_streams: int,
        ticks: int,
        seed: int,
    ) -> None:
        size = recognizer.manifest.frontend.step_samples
        n_steps = ticks + _WARM_UP
        pcm = audio.take(n_steps * size, seed)
        self._steps = [pcm[i * size : (i + 1) * size] for i in range(n_steps)]
        self._shifts = np.random.default_rng(seed).integers(n_steps, size=n_streams).tolist()
        self._group, self._tick = group, 0

    def push(self) -> int:
        """One tick; nanoseconds from all samples being there to the last event."""
        steps, tick = self._steps, self._tick
        chunks = [steps[(tick + shift) % len(steps)] for shift in self._shifts]
        self._tick += 1
        begin = time.perf_counter_ns()
        self._group.push(chunks)
        return time.perf_counter_ns() - begin

    def timed(self, ticks: int, deadline_ns: int) -> NDArray[np.int64]:
        """``(ticks,) int64``, after warm-up; fewer once the deadline cannot be held any more."""
        for _ in range(_WARM_UP):
            self.push()
        taken: list[int] = []
        late = 0
        while len(taken) < ticks and late <= ticks // 100:
            taken.append(self.push())
            late += taken[-1] > deadline_ns
        return np.array(taken, np.int64)


def _expected(trial: Trial, most: int) -> int:
    """How many streams the median tick of ``trial`` lets hope for."""
    per_stream_ns = max(float(np.median(trial.tick_ns)) / trial.streams, 1.0)
    return max(1, min(most, int(0.95 * trial.deadline_ns / per_stream_ns)))
