"""Log-mel frames of several streams that take their steps together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import as_strided

from edge_ser.frontend.logmel import LogMel

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GroupLogMel"]


class GroupLogMel:
    """The frames that so many single streams would give, from one call of each operation.

    Operations and the order of sums are those of a single stream, so all bits are equal.

    Args:
        full_scale: samples come in ``-full_scale..full_scale``.

    Attributes:
        samples: ``(streams, step_samples) float32``, to be filled before each :meth:`advance`.
    """

    def __init__(self, front_end: LogMel, n_streams: int, full_scale: float = 1.0) -> None:
        spec = self._spec = front_end.spec
        frames, bins = spec.step_frames, spec.n_fft // 2 + 1
        self._window = front_end.window / np.float32(full_scale)
        self._transform = front_end.transform
        self._buffer = np.zeros((n_streams, spec.history + spec.step_samples), np.float32)
        self.samples = self._buffer[:, spec.history :]
        row, stride = self._buffer.strides
        self._windows = as_strided(
            self._buffer,
            shape=(n_streams, frames, spec.window),
            strides=(row, spec.hop * stride, stride),
            writeable=False,
        )
        self._padded = np.zeros((n_streams, frames, spec.n_fft), np.float32)
        self._tapered = self._padded[..., : spec.window]
        spectrum = np.zeros((n_streams, bins, frames), np.complex64)
        self._spectrum = spectrum.swapaxes(1, 2)
        self._parts = spectrum.view(np.float32).reshape(-1)
        self._real, self._imaginary = self._parts[::2], self._parts[1::2]
        spectral = np.zeros(spectrum.shape, np.float32)
        self._spectral = spectral.reshape(-1)
        self._power = np.zeros((n_streams, spec.n_mels, frames), np.float32)
        self._every_power = self._power.reshape(n_streams, 1, -1)
        self._ones = np.ones((self._every_power.shape[2], 1), np.float32)
        self._products = front_end.bands.products(spectral, self._power)
        self._levels = np.full(n_streams, spec.level_floor)

    def advance(self, out: NDArray[np.float32], resting: Sequence[int] = ()) -> None:
        """Write the frames that :attr:`samples` complete into ``out``.

        Args:
            out: ``(streams, n_mels, step_frames) float32``.
            resting: streams that take no step and whose samples stay; what ``out`` gets for
                them means nothing.
        """
        buffer, spec, rest = self._buffer, self._spec, list(resting)
        kept = (buffer[rest], self._levels[rest]) if rest else None
        np.multiply(self._windows, self._window, out=self._tapered)
        self._transform(self._padded, self._spectrum)
        np.multiply(self._parts, self._parts, out=self._parts)
        np.add(self._real, self._imaginary, out=self._spectral)
        # A product for each stream: one for all is so large that BLAS would start threads.
        for product in self._products:
            np.matmul(*product)
        total = np.matmul(self._every_power, self._ones)[:, 0, 0]
        loudness = total / np.float64(len(self._ones))
        levels = np.maximum(self._levels * spec.level_keep, loudness)
        self._levels = np.maximum(levels, spec.level_floor)
        gains = (1.0 / self._levels).astype(np.float32)
        np.multiply(self._power, gains[:, None, None], out=out)
        np.add(out, np.float32(spec.floor), out=out)
        np.log(out, out=out)
        buffer[:, : spec.history] = buffer[:, spec.step_samples :]
        if kept is not None:
            buffer[rest], self._levels[rest] = kept

    def reset(self, index: int) -> None:
        """Forget one stream, as if it had just begun."""
        self._buffer[index] = 0.0
        self._levels[index] = self._spec.level_floor
