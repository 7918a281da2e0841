"""What a live source of samples is, whatever it hears with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_ser.audio import RATES_HZ
from edge_ser.errors import EdgeSerError, UsageError

__all__ = [
    "BLOCK_MS",
    "Heard",
    "SampleSource",
    "SourceGone",
    "backoff",
    "is_live",
    "opener",
    "rate_of",
]

BLOCK_MS = 80
"""Of what a microphone gives at once: as long as a step of most packs. Utterances begin where a
block does, so that the last sample of a step is the last of a block and waits for nothing."""

_TCP = ("tcp://", "tcp-listen://")


class SourceGone(EdgeSerError):
    """The source stopped giving samples."""


@dataclass(frozen=True)
class Heard:
    """What one read gave.

    Attributes:
        samples: ``(n,) float32`` mono at the rate asked for, may be empty.
        lost: samples that were lost before these, estimated by the clock.
        captured_ns: ``time.perf_counter_ns`` when the last of them was in the buffer.
    """

    samples: NDArray[np.float32]
    lost: int
    captured_ns: int


class SampleSource(Protocol):
    """What a listener reads.

    One that resamples has its ``LiveResampler`` as ``resampler``, so that its time can be told.
    """

    @property
    def name(self) -> str:
        """For messages."""
        ...

    def read(self) -> Heard:
        """Wait a moment for samples; ``SourceGone`` when there will be none."""
        ...

    def close(self) -> None:
        """Let the device go."""
        ...


def is_live(where: str) -> bool:
    """Whether ``where`` names a live source: ``mic``, ``mic:NAME``, TCP or a ROS topic."""
    return where == "mic" or where.startswith(("mic:", "ros:", *_TCP))


def opener(where: str, rate_hz: int) -> Callable[[], SampleSource]:
    """What opens the live source ``where``, again and again.

    Args:
        where: as in :func:`is_live`; ``tcp://HOST:PORT`` fetches raw s16le mono,
            ``tcp-listen://HOST:PORT`` takes it from whoever connects; ``?rate=48000`` where it
            is not ``rate_hz``; ``ros:/TOPIC[?rate=HZ]`` hears a ROS 2 topic.
        rate_hz: rate of the samples it shall give.

    Raises:
        UsageError: ``where`` makes no sense.
        InputError: the port is taken, or PortAudio cannot be loaded.
        MissingExtra: what it needs is not installed.
    """
    if where.startswith(_TCP):
        from edge_ser.runtime.tcp import Address, TcpListen, TcpSource

        address = Address.parse(where)
        if address.listens:
            listening = TcpListen(address, rate_hz)
            return listening.accept
        return lambda: TcpSource.connect(address, rate_hz)
    if where.startswith("ros:"):
        from edge_ser.runtime.ros2.source import RosAudio

        topic, _, rate = where.removeprefix("ros:").partition("?rate=")
        topic_rate_hz = rate_of(where, rate) if rate else rate_hz
        return lambda: RosAudio(topic, rate_hz, topic_rate_hz=topic_rate_hz)
    if not is_live(where):
        raise UsageError(
            f"--input {where}: mic, mic:NAME, tcp://HOST:PORT, tcp-listen://HOST:PORT, ros:/TOPIC "
            "or none (files go to: edge-ser run)"
        )
    from edge_ser.runtime.devices import sounddevice
    from edge_ser.runtime.mic import Microphone

    sounddevice()  # what is not installed is said now, not tried again for ever
    name = where.partition(":")[2] or None
    return lambda: Microphone(name, rate_hz)


def rate_of(where: str, text: str) -> int:
    """The rate in Hz that ``?rate=`` of the source ``where`` gives.

    Raises:
        UsageError: it is none.
    """
    low, high = RATES_HZ
    # Python refuses to read very long numbers.
    if not (text.isdecimal() and len(text) < 9 and low <= int(text) <= high):
        raise UsageError(f"{where}: rate is a number of Hz from {low} to {high}, got {text!r:.40}")
    return int(text)


def backoff(first_s: float = 0.1, longest_s: float = 0.5) -> Iterator[float]:
    """Waits between attempts to open again: doubling, then level."""
    wait = first_s
    while True:
        yield wait
        wait = min(2 * wait, longest_s)
