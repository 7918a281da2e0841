"""Where samples come from: a file, standard input, the bundled sample."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

import edge_ser
from edge_ser.audio import check_file, read_mono
from edge_ser.errors import InputError

__all__ = ["DEMO", "Source", "open_source", "paced"]

DEMO = Path(edge_ser.__file__).parent / "samples" / "demo.wav"
_STDIN_BYTES = 2560  # 80 ms of 16-bit samples at 16 kHz


@dataclass(frozen=True)
class Source:
    """A named supply of mono chunks.

    Attributes:
        name: for events and messages.
        chunks: ``(n,)`` arrays, ``int16`` or ``float32`` in -1..1, at the rate asked for.
    """

    name: str
    chunks: Iterable[NDArray[np.int16] | NDArray[np.float32]]


def open_source(where: str, rate_hz: int) -> Source:
    """The source that the command line calls ``where``.

    Args:
        where: a file, ``-`` for raw s16le mono on standard input, or ``demo``.
        rate_hz: rate of the chunks; files are resampled, standard input must have it.

    Raises:
        InputError: there is no such file. What is wrong inside a file shows while reading.
    """
    if where == "-":
        if sys.stdin is None:
            raise InputError("standard input is closed, so there is nothing to read from -")
        return Source("stdin", read_raw(sys.stdin.buffer))
    if where == "demo" and not Path(where).exists():
        return Source("demo", read_mono(DEMO, rate_hz))
    check_file(Path(where), rate_hz)
    return Source(Path(where).stem, read_mono(where, rate_hz))


def read_raw(file: BinaryIO) -> Iterator[NDArray[np.int16]]:
    """Chunks of raw s16le samples as they arrive.

    Raises:
        InputError: the data ends in the middle of a sample.
    """
    rest, first = b"", True
    while data := getattr(file, "read1", file.read)(_STDIN_BYTES):
        data = rest + data
        if first and data[:4] == b"RIFF" and data[8:12] == b"WAVE":
            raise InputError(
                "standard input is a WAV file, - takes raw samples; give the file by its name, or "
                "decode it first: ffmpeg -i FILE -f s16le -ac 1 -ar 16000 - | edge-ser run -"
            )
        first = False
        whole = len(data) // 2 * 2
        rest = data[whole:]
        if whole:
            yield np.frombuffer(data[:whole], "<i2")
    if rest:
        raise InputError("standard input ended in the middle of a 16-bit sample; is it s16le?")


def paced(
    chunks: Iterable[NDArray[np.int16] | NDArray[np.float32]], rate_hz: int, chunk_ms: int = 20
) -> Iterator[NDArray[np.int16] | NDArray[np.float32]]:
    """The same samples in chunks of ``chunk_ms``, no sooner than a microphone would give them."""
    size = rate_hz * chunk_ms // 1000
    begin, given = time.monotonic(), 0
    for chunk in chunks:
        for start in range(0, len(chunk), size):
            part = chunk[start : start + size]
            given += len(part)
            wait = begin + given / rate_hz - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            yield part
