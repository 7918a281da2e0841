"""Log-mel frames of several streams that take their steps together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

from edge_ser.frontend.logmel import FloatArray, LogMel

__all__ = ["GroupLogMel"]


class GroupLogMel:
    """The frames that so many single streams would give, from one call of each operation.

    Operations and the order of sums are those of a single stream, so all bits are equal.
    """

    def __init__(self, front_end: LogMel, n_streams: int) -> None:
        spec = self._spec = front_end.spec
        frames = spec.step_frames
        self._window, self._transform = front_end.window, front_end.transform
        self._buffer = np.zeros((n_streams, spec.history + spec.step_samples), np.float32)
        row, stride = self._buffer.strides
        self._windows = as_strided(
            self._buffer,
            shape=(n_streams, frames, spec.window),
            strides=(row, spec.hop * stride, stride),
            writeable=False,
        )
        padded = np.zeros((n_streams, frames, spec.n_fft), np.float32)
        self._tapered = padded[..., : spec.window]
        self._padded = padded.reshape(n_streams * frames, spec.n_fft)
        self._spectrum = np.zeros((n_streams * frames, spec.n_fft // 2 + 1), np.complex64)
        self._parts = self._spectrum.view(np.float32)
        self._real, self._imaginary = self._parts[:, ::2], self._parts[:, 1::2]
        spectral = np.zeros((n_streams, frames, self._spectrum.shape[1]), np.float32)
        self._spectral = spectral.reshape(self._spectrum.shape)
        self._power = np.zeros((n_streams, spec.n_mels, frames), np.float32)
        self._every_power = self._power.reshape(n_streams, -1)
        self._products = front_end.bands.products(spectral, self._power)
        self._levels = np.full(n_streams, spec.level_floor)

    def step(self, samples: FloatArray, out: FloatArray, resting: Sequence[int] = ()) -> None:
        """Write the frames that ``samples`` complete into ``out``.

        Args:
            samples: ``(streams, step_samples) float32`` in -1..1.
            out: ``(streams, n_mels, step_frames) float32``.
            resting: streams that take no step; what ``out`` gets for them means nothing.
        """
        buffer, spec, rest = self._buffer, self._spec, list(resting)
        kept = (buffer[rest], self._levels[rest]) if rest else None
        buffer[:, : spec.history] = buffer[:, spec.step_samples :]
        buffer[:, spec.history :] = samples
        np.multiply(self._windows, self._window, out=self._tapered)
        self._transform(self._padded, self._spectrum)
        np.multiply(self._parts, self._parts, out=self._parts)
        np.add(self._real, self._imaginary, out=self._spectral)
        # A product for each stream: one for all is so large that BLAS would start threads.
        for product in self._products:
            np.matmul(*product)
        loudness = np.add.reduce(self._every_power, axis=1) / np.float64(self._every_power.shape[1])
        levels = np.maximum(self._levels * spec.level_keep, loudness)
        self._levels = np.maximum(levels, spec.level_floor)
        gains = (1.0 / self._levels).astype(np.float32)
        np.multiply(self._power, gains[:, None, None], out=out)
        np.add(out, np.float32(spec.floor), out=out)
        np.log(out, out=out)
        if kept is not None:
            buffer[rest], self._levels[rest] = kept

    def reset(self, index: int) -> None:
        """Forget one stream, as if it had just begun."""
        self._buffer[index] = 0.0
        self._levels[index] = self._spec.level_floor
