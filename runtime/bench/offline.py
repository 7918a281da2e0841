"""Offline: how much recorded audio gets through when nobody waits for it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from edge_ser.errors import EdgeSerError
from edge_ser.runtime.bench.audio import Samples
from edge_ser.runtime.recognizer import Recognizer

__all__ = ["Offline", "offline"]


@dataclass(frozen=True)
class Offline:
    """Throughput of one process.

    Attributes:
        audio_s: seconds of audio that went through.
        wall_s: seconds it took.
        cpu_s: processor seconds it took, all threads.
    """

    audio_s: float
    wall_s: float
    cpu_s: float

    @property
    def hours_per_minute(self) -> float:
        """Hours of audio a minute."""
        return self.audio_s / 3600 / (self.wall_s / 60)


def offline(recognizer: Recognizer, pcm: Samples) -> Offline:
    """Push ``pcm`` ``(n,) int16`` through in blocks of a second, one event at the end.

    Raises:
        EdgeSerError: the clock did not go forward meanwhile.
    """
    rate_hz = recognizer.rate_hz
    never = len(pcm) + 1
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    with recognizer.stream("offline", every=never) as stream:
        for start in range(0, len(pcm), rate_hz):
            stream.push(pcm[start : start + rate_hz])
        stream.finish()
    wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
    if wall <= 0:
        raise EdgeSerError("the clock of this machine stood still or went back; nothing to tell")
    return Offline(len(pcm) / rate_hz, wall / 1e9, cpu / 1e9)
