"""The audio that a benchmark streams: real speech, as long as asked for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_ser.audio import read_mono
from edge_ser.errors import InputError, UsageError
from edge_ser.runtime.sources import DEMO

__all__ = ["BenchAudio", "Repeated", "Samples", "bench_audio"]

_VIEW_S = 1  # pieces up to this long are views wherever they begin


class Samples(Protocol):
    """``(n,) int16`` samples of which pieces can be taken: an array, or :class:`Repeated`."""

    def __len__(self) -> int: ...

    def __getitem__(self, piece: slice, /) -> NDArray[np.int16]: ...


class Repeated:
    """A clip over and over, as long as wanted, in the memory of one clip.

    Args:
        ring: ``(period + more,) int16``, the clip and as much of its repetition as a piece
            may be long to be a view.
        period: samples of the clip.
        start: sample of the clip to begin with.
        n_samples: how long all of it is.
    """

    def __init__(self, ring: NDArray[np.int16], period: int, start: int, n_samples: int) -> None:
        self._ring, self._period, self._start, self._n_samples = ring, period, start, n_samples

    def __len__(self) -> int:
        return self._n_samples

    def __getitem__(self, piece: slice, /) -> NDArray[np.int16]:
        first, end, stride = piece.indices(self._n_samples)
        if stride != 1:
            raise ValueError(f"pieces of repeated audio have no stride, got {stride}")
        n, offset = max(end - first, 0), (self._start + first) % self._period
        if offset + n <= len(self._ring):
            return self._ring[offset : offset + n]
        return np.resize(np.roll(self._ring[: self._period], -offset), n)


@dataclass(frozen=True)
class BenchAudio:
    """A clip that is repeated for as long as a benchmark runs.

    Attributes:
        name: file name, without its folder.
        clip: ``(n,) int16`` mono samples.
        rate_hz: their rate.
        sha256: of the clip's samples, so that two results can be told to be of the same audio.
    """

    name: str
    clip: NDArray[np.int16]
    rate_hz: int
    sha256: str

    def take(self, n_samples: int, seed: int) -> NDArray[np.int16]:
        """``(n_samples,) int16``, the clip over and over from a place that ``seed`` chooses."""
        return self.repeated(n_samples, seed)[:]

    def repeated(self, n_samples: int, seed: int) -> Repeated:
        """The samples of :meth:`take` without their memory, to be taken piece by piece."""
        period = len(self.clip)
        start = int(np.random.default_rng(seed).integers(period))
        ring = np.resize(self.clip, period + _VIEW_S * self.rate_hz)
        return Repeated(ring, period, start, n_samples)


def bench_audio(path: Path | str | None, rate_hz: int) -> BenchAudio:
    """The audio file ``path``, or the bundled sample, as 16-bit samples at ``rate_hz``.

    Raises:
        InputError: the file cannot be used, or holds nothing but silence.
        UsageError: no file is named and this installation has no sample.
    """
    if path is None and not DEMO.is_file():
        raise UsageError("this installation has no bundled sample; name an audio file with --input")
    where = Path(DEMO if path is None else path)
    clip = np.concatenate([_int16(block) for block in read_mono(where, rate_hz)])
    if not clip.any():
        raise InputError(f"{where}: is digital silence; give a file with speech to bench on")
    return BenchAudio(where.name, clip, rate_hz, hashlib.sha256(clip.tobytes()).hexdigest())


def _int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)
