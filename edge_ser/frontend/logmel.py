"""Levelled log-mel frames from 16 kHz samples, for whole clips and for streams."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from edge_ser.frontend.spec import LogMelSpec, mel_filterbank

__all__ = ["LogMel", "StreamingLogMel"]

FloatArray = NDArray[np.float32]
_IN_PLACE = np.lib.NumpyVersion(np.__version__) >= "2.0.0"  # numpy 1 transforms in double


class LogMel:
    """Holds the constants of the front end, so one object serves all streams and threads."""

    def __init__(self, spec: LogMelSpec | None = None) -> None:
        self.spec = spec or LogMelSpec()
        self.window: FloatArray = np.hanning(self.spec.window).astype(np.float32)
        # Real and imaginary parts lie side by side in memory; a filter bank with every bin
        # written twice adds their squares inside the one matrix product. The last row is the
        # sum of all filters, so that the loudness of a frame comes with its bands.
        filters = mel_filterbank(self.spec)
        filters = np.concatenate([filters, filters.sum(axis=0, keepdims=True)])
        heard = np.flatnonzero(filters.any(axis=0)).tolist() or [0]
        self.bins = slice(2 * heard[0], 2 * heard[-1] + 2)
        """Real and imaginary parts that any band listens to."""
        self.paired_filters: FloatArray = np.repeat(filters, 2, axis=1)[:, self.bins].copy()

    def mel_power(self, windows: FloatArray) -> FloatArray:
        """Mel power of ready-cut windows.

        Args:
            windows: ``(frames, window) float32`` samples in -1..1.

        Returns:
            ``(n_mels, frames) float32``.
        """
        padded = np.zeros((len(windows), self.spec.n_fft), np.float32)
        np.multiply(windows, self.window, out=padded[:, : self.spec.window])
        spectrum = np.empty((len(windows), self.spec.n_fft // 2 + 1), np.complex64)
        transform(padded, spectrum)
        parts = np.square(spectrum.view(np.float32)[:, self.bins])
        power: FloatArray = (self.paired_filters @ parts.T)[:-1]
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
        self._filters = front_end.paired_filters
        self._window = front_end.window
        self._size, self._history = spec.step_samples, spec.history
        self._floor, self._keep = np.float32(spec.floor), spec.level_keep
        self._level_floor = spec.level_floor
        self._buffer = np.zeros(spec.history + spec.step_samples, np.float32)
        stride = self._buffer.strides[0]
        self._windows = as_strided(
            self._buffer,
            shape=(spec.step_frames, spec.window),
            strides=(spec.hop * stride, stride),
            writeable=False,
        )
        # Filled up with zeros once, so that the transform has nothing to pad or to allocate.
        self._padded = np.zeros((spec.step_frames, spec.n_fft), np.float32)
        self._tapered = self._padded[:, : spec.window]
        self._spectrum = np.zeros((spec.step_frames, spec.n_fft // 2 + 1), np.complex64)
        self._parts = self._spectrum.view(np.float32)[:, front_end.bins]
        self._sums = np.zeros((spec.n_mels + 1, spec.step_frames), np.float32)
        self._power, self._loudness = self._sums[:-1], self._sums[-1]
        self._count = spec.n_mels * spec.step_frames
        self.level = spec.level_floor

    def step(self, samples: FloatArray, out: FloatArray) -> None:
        """Write the frames that ``samples`` complete into ``out``.

        Args:
            samples: ``(step_samples,) float32`` in -1..1.
            out: ``(n_mels, step_frames) float32``, the natural logarithm of levelled mel
                power plus the floor.
        """
        buffer, history, power = self._buffer, self._history, self._power
        buffer[:history] = buffer[self._size :]
        buffer[history:] = samples
        np.multiply(self._windows, self._window, out=self._tapered)
        transform(self._padded, self._spectrum)
        parts = self._parts
        np.multiply(parts, parts, out=parts)
        np.matmul(self._filters, parts.T, out=self._sums)
        loudness = sum(self._loudness.tolist()) / self._count
        self.level = max(self.level * self._keep, loudness, self._level_floor)
        np.multiply(power, np.float32(1.0 / self.level), out=power)
        np.add(power, self._floor, out=power)
        np.log(power, out=out)

    def reset(self) -> None:
        """Forget the stream, as if it had just begun."""
        self._buffer.fill(0.0)
        self.level = self._level_floor


def transform(windows: FloatArray, out: NDArray[np.complex64]) -> None:
    """Write the spectra of ``(frames, n_fft) float32`` windows into ``out``."""
    if _IN_PLACE:
        np.fft.rfft(windows, out=out)  # type: ignore[arg-type]  # single precision is right
    else:
        out[...] = np.fft.rfft(windows)
