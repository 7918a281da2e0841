"""Whether the service still works: every stream that is at work makes steps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edge_ser.runtime.backends import Engine
from edge_ser.runtime.timing import StageTiming, StepTiming

__all__ = ["Pulse", "Vitals", "probe_of"]


class Pulse:
    """Signs of life of one stream, as a hook of it and by hand.

    Args:
        name: of the stream, for messages.
        always: whether it must give signs all the time, or only while it is at work.
    """

    def __init__(self, name: str, clock: Callable[[], float], always: bool) -> None:
        self.name = name
        self._clock = clock
        self._working = always
        self._last = clock()

    def beat(self) -> None:
        """The stream got on; from any thread."""
        self._last = self._clock()

    def on_stage(self, timing: StageTiming) -> None:
        """Nothing."""

    def on_step(self, timing: StepTiming) -> None:
        """A real step is the best sign of life."""
        self._last = self._clock()

    @contextmanager
    def working(self) -> Iterator[None]:
        """While the block runs, steps are expected."""
        self.beat()
        self._working = True
        try:
            yield
        finally:
            self._working = False

    def silent_s(self) -> float:
        """Seconds since the last sign of life, 0 while none is expected."""
        return self._clock() - self._last if self._working else 0.0


class Vitals:
    """The pulses of all streams."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._pulses: list[Pulse] = []

    def add(self, name: str, *, always: bool = False) -> Pulse:
        """A pulse to watch from now on."""
        pulse = Pulse(name, self._clock, always)
        with self._lock:
            self._pulses.append(pulse)
        return pulse

    def remove(self, pulse: Pulse) -> None:
        """Watch it no longer."""
        with self._lock:
            self._pulses.remove(pulse)

    @contextmanager
    def watching(self, name: str) -> Iterator[Pulse]:
        """A pulse for the time of the block."""
        pulse = self.add(name)
        try:
            yield pulse
        finally:
            self.remove(pulse)

    def stuck(self, limit_s: float) -> str | None:
        """What gave no sign of life for ``limit_s`` seconds though it should; None if all did."""
        with self._lock:
            worst = max(self._pulses, key=Pulse.silent_s, default=None)
        if worst is None or worst.silent_s() < limit_s:
            return None
        return f"{worst.name} made no step for {worst.silent_s():.1f} s"


def probe_of(engine: Engine) -> Callable[[], None]:
    """Something to call that makes one real step of a stream of its own and then forgets it."""
    stream = engine.stream()
    stream.mel[:] = 0.0

    def probe() -> None:
        stream.step()
        stream.reset()

    return probe
