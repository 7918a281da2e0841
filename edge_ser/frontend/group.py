"""Log-mel frames of several streams that take their steps together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

from edge_ser.frontend.logmel import FloatArray, LogMel, transform

__all__ = ["GroupLogMel"]


class GroupLogMel:
    """The frames that so many single streams would give, from one call of each operation.

    Sums are made in another order than in a single stream, so the last bits may differ.
    """

    def __init__(self, front_end: LogMel, n_streams: int) -> None:
        spec = self._spec = front_end.spec
        frames = spec.step_frames
        self._filters, self._window = front_end.paired_filters, front_end.window
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
        self._parts = self._spectrum.view(np.float32)[:, front_end.bins]
        self._by_stream = (
            self._spectrum.view(np.float32)
            .reshape(n_streams, frames, -1)[..., front_end.bins]
            .transpose(0, 2, 1)
        )
        self._sums = np.zeros((n_streams, spec.n_mels + 1, frames), np.float32)
        self._power, self._loudness = self._sums[:, :-1], self._sums[:, -1]
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
        transform(self._padded, self._spectrum)
        parts = self._parts
        np.multiply(parts, parts, out=parts)
        # A product for each stream: one for all is so large that BLAS would start threads.
        np.matmul(self._filters, self._by_stream, out=self._sums)
        loudness = self._loudness.sum(axis=1, dtype=np.float64) / (spec.n_mels * spec.step_frames)
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
