"""What every peer looks like to the benchmark."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["RATE_HZ", "Feed", "Peer", "Window", "version"]

RATE_HZ = 16000
Feed = Callable[[NDArray[np.int16]], object]


@dataclass(frozen=True)
class Peer:
    """One system.

    Attributes:
        name: key on the command line.
        title: in the table.
        gives: what its result is.
        settings: all that was chosen, in words.
        version: of the package that is run.
        hop: samples from one result to the next.
        load: makes the function that takes the next ``hop`` samples, ``(hop,) int16``.
    """

    name: str
    title: str
    gives: str
    settings: str
    version: str
    hop: int
    load: Callable[[], Feed]


class Window:
    """The newest samples as float32 in -1..1, for systems that look at a whole window."""

    def __init__(self, size: int) -> None:
        self.samples: NDArray[np.float32] = np.zeros(size, np.float32)

    def push(self, chunk: NDArray[np.int16]) -> NDArray[np.float32]:
        """``(size,) float32`` with ``chunk`` at its end; overwritten by the next call."""
        n = len(chunk)
        self.samples[:-n] = self.samples[n:]
        np.multiply(chunk, np.float32(1 / 32768), out=self.samples[-n:])
        return self.samples


def version(package: str) -> str:
    """``package`` and its installed version."""
    return f"{package} {importlib.metadata.version(package)}"
