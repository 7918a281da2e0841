"""The audio that a benchmark streams: real speech, as long as asked for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ser.audio import load_mono
from edge_ser.errors import InputError, UsageError
from edge_ser.runtime.sources import DEMO

__all__ = ["BenchAudio", "bench_audio"]


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
        start = int(np.random.default_rng(seed).integers(len(self.clip)))
        repeats = -(-(start + n_samples) // len(self.clip))
        return np.tile(self.clip, repeats)[start : start + n_samples]


def bench_audio(path: Path | str | None, rate_hz: int) -> BenchAudio:
    """The audio file ``path``, or the bundled sample, as 16-bit samples at ``rate_hz``.

    Raises:
        InputError: the file cannot be used, or holds nothing but silence.
        UsageError: no file is named and this installation has no sample.
    """
    if path is None and not DEMO.is_file():
        raise UsageError("this installation has no bundled sample; name an audio file with --input")
    where = Path(DEMO if path is None else path)
    samples = load_mono(where, rate_hz)
    if not samples.any():
        raise InputError(f"{where}: is digital silence; give a file with speech to bench on")
    clip = np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)
    return BenchAudio(where.name, clip, rate_hz, hashlib.sha256(clip.tobytes()).hexdigest())
