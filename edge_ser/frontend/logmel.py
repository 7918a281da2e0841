"""Levelled log-mel frames from 16 kHz samples, for whole clips and for streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import as_strided

from edge_ser.frontend.bands import Bands
from edge_ser.frontend.fourier import real_transform
from edge_ser.frontend.spec import LogMelSpec

__all__ = ["LogMel", "StreamingLogMel"]

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_ser.frontend.group import GroupLogMel

    FloatArray = NDArray[np.float32]


class LogMel:
    """Holds the constants of the front end, so one object serves all streams and threads."""

    def __init__(self, spec: LogMelSpec | None = None) -> None:
        self.spec = spec or LogMelSpec()
        self.window: FloatArray = np.hanning(self.spec.window).astype(np.float32)
        self.bands = Bands(self.spec)
        self.transform = real_transform(self.spec.n_fft)

    def mel_power(self, windows: FloatArray) -> FloatArray:
        """Mel power of ready-cut windows.

        Args:
            windows: ``(frames, window) float32`` samples in -1..1.

        Returns:
            ``(n_mels, frames) float32``.
        """
        padded = np.zeros((len(windows), self.spec.n_fft), np.float32)
        np.multiply(windows, self.window, out=padded[:, : self.spec.window])
        spectrum = np.empty((self.spec.n_fft // 2 + 1, len(windows)), np.complex64)
        self.transform(padded, spectrum.T)
        power = np.empty((self.spec.n_mels, len(windows)), np.float32)
        squares = np.square(spectrum.view(np.float32))
        for product in self.bands.products(squares[:, ::2] + squares[:, 1::2], power):
            np.matmul(*product)
        return power

    def stream(self, full_scale: float = 1.0) -> StreamingLogMel:
        """A new stream of frames, of samples in ``-full_scale..full_scale``."""
        return StreamingLogMel(self, full_scale)

    def group(self, n_streams: int, full_scale: float = 1.0) -> GroupLogMel:
        """The same of ``n_streams`` new streams that take their steps together."""
        from edge_ser.frontend.group import GroupLogMel

        return GroupLogMel(self, n_streams, full_scale)

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
    """The frames of one stream, a step at a time.

    Everything that numpy writes to is made here once, and what it works on lies in one piece
    with numbers as arrays without axes: finding a way through axes, or converting a Python
    number, costs as much as the arithmetic on these few values.

    Args:
        full_scale: samples come in ``-full_scale..full_scale``. A power of two gives the same
            frames to the last bit.

    Attributes:
        samples: ``(step_samples,) float32``, to be filled before each :meth:`advance`.
        level: what the frames of the last step were divided by.
    """

    def __init__(self, front_end: LogMel, full_scale: float = 1.0) -> None:
        spec = front_end.spec
        self._window = front_end.window / np.float32(full_scale)
        self._transform = front_end.transform
        self._keep, self._level_floor = spec.level_keep, spec.level_floor
        self._buffer = np.zeros(spec.history + spec.step_samples, np.float32)
        self.samples = self._buffer[spec.history :]
        self._past = self._buffer[: spec.history]
        self._next_past = self._buffer[spec.step_samples :]
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
        spectrum = np.zeros((spec.n_fft // 2 + 1, spec.step_frames), np.complex64)
        self._spectrum = spectrum.T
        # Real and imaginary parts lie side by side; they are squared where they are.
        self._parts = spectrum.view(np.float32).reshape(-1)
        self._real, self._imaginary = self._parts[::2], self._parts[1::2]
        spectral = np.zeros(spectrum.shape, np.float32)
        self._spectral = spectral.reshape(-1)
        self._power = np.zeros((spec.n_mels, spec.step_frames), np.float32)
        self._products = front_end.bands.products(spectral, self._power)
        every_power = self._power.reshape(-1)
        self._sum, self._ones = every_power.dot, np.ones_like(every_power)
        self._gain, self._floor = np.zeros((), np.float32), np.array(spec.floor, np.float32)
        self.level = spec.level_floor

    def step(self, samples: FloatArray, out: FloatArray) -> None:
        """Write the frames that ``samples`` complete into ``out``, see :meth:`advance`.

        Args:
            samples: ``(step_samples,) float32``.
            out: ``(n_mels, step_frames) float32``.
        """
        self.samples[...] = samples
        self.advance(out)

    def advance(self, out: FloatArray) -> None:
        """Write the frames that :attr:`samples` complete into ``out``.

        Args:
            out: ``(n_mels, step_frames) float32``, the natural logarithm of levelled mel
                power plus the floor.
        """
        parts, power = self._parts, self._power
        np.multiply(self._windows, self._window, self._tapered)
        self._transform(self._padded, self._spectrum)
        np.multiply(parts, parts, parts)
        np.add(self._real, self._imaginary, self._spectral)
        for weights, spectral, bands in self._products:
            np.dot(weights, spectral, bands)
        loudness = float(self._sum(self._ones)) / len(self._ones)
        self.level = level = max(self.level * self._keep, loudness, self._level_floor)
        self._gain[()] = 1.0 / level
        np.multiply(power, self._gain, power)
        np.add(power, self._floor, power)
        np.log(power, out)
        self._past[...] = self._next_past

    def reset(self) -> None:
        """Forget the stream, as if it had just begun."""
        self._buffer.fill(0.0)
        self.level = self._level_floor
