"""Levelled log-mel frames from 16 kHz samples, for whole clips and for streams."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from edge_ser.frontend.spec import LogMelSpec, mel_filterbank

__all__ = ["LogMel", "StreamingLogMel"]

FloatArray = NDArray[np.float32]


class LogMel:
    """Holds the constants of the front end, so one object serves all streams and threads."""

    def __init__(self, spec: LogMelSpec | None = None) -> None:
        self.spec = spec or LogMelSpec()
        self.window: FloatArray = np.hanning(self.spec.window).astype(np.float32)
        # Real and imaginary parts lie side by side in memory; a filter bank with every bin
        # written twice adds their squares inside the one matrix product.
        self._paired_filters: FloatArray = np.repeat(mel_filterbank(self.spec), 2, axis=1)

    def mel_power(self, windows: FloatArray) -> FloatArray:
        """Mel power of ready-cut windows.

        Args:
            windows: ``(frames, window) float32`` samples in -1..1.

        Returns:
            ``(n_mels, frames) float32``.
        """
        spectrum = np.fft.rfft(windows * self.window, self.spec.n_fft)
        parts = spectrum.astype(np.complex64, copy=False).view(np.float32)
        np.square(parts, out=parts)
        power: FloatArray = self._paired_filters @ parts.T
        return power

    def stream(self) -> StreamingLogMel:
        """A new stream of frames."""
        return StreamingLogMel(self)

    def clip(self, samples: FloatArray) -> FloatArray:
        """The frames that a stream gives for a whole clip.

        Args:
            samples: ``(n,) float32`` in -1..1; the last step is filled up with zeros.

        Returns:
            ``(n_mels, frames) float32``, frames a multiple of ``step_frames``.
        """
        size = self.spec.step_samples
        n_steps = -(-len(samples) // size)
        padded = np.zeros(n_steps * size, np.float32)
        padded[: len(samples)] = samples
        frames = np.empty((self.spec.n_mels, n_steps * self.spec.step_frames), np.float32)
        stream = self.stream()
        for step in range(n_steps):
            columns = slice(step * self.spec.step_frames, (step + 1) * self.spec.step_frames)
            stream.step(padded[step * size : (step + 1) * size], out=frames[:, columns])
        return frames


class StreamingLogMel:
    """The frames of one stream, a step at a time."""

    def __init__(self, front_end: LogMel) -> None:
        spec = front_end.spec
        self._front_end = front_end
        self._size, self._history = spec.step_samples, spec.history
        self._floor, self._keep = np.float32(spec.floor), spec.level_keep
        self._buffer = np.zeros(spec.history + spec.step_samples, np.float32)
        stride = self._buffer.strides[0]
        self._windows = as_strided(
            self._buffer,
            shape=(spec.step_frames, spec.window),
            strides=(spec.hop * stride, stride),
            writeable=False,
        )
        self._count = spec.n_mels * spec.step_frames
        self.level = spec.level_floor

    def step(self, samples: FloatArray, out: FloatArray) -> None:
        """Write the frames that ``samples`` complete into ``out``.

        Args:
            samples: ``(step_samples,) float32`` in -1..1.
            out: ``(n_mels, step_frames) float32``, the natural logarithm of levelled mel
                power plus the floor.
        """
        buffer, history = self._buffer, self._history
        buffer[:history] = buffer[self._size :]
        buffer[history:] = samples
        power = self._front_end.mel_power(self._windows)
        loudness = float(np.add.reduce(power, axis=None)) / self._count
        spec = self._front_end.spec
        self.level = max(self.level * self._keep, loudness, spec.level_floor)
        power *= np.float32(1.0 / self.level)
        power += self._floor
        np.log(power, out=out)

    def reset(self) -> None:
        """Forget the stream, as if it had just begun."""
        self._buffer.fill(0.0)
        self.level = self._front_end.spec.level_floor
