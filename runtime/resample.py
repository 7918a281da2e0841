"""Another sample rate without waiting for more than a millisecond and a half."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import UsageError

__all__ = ["LiveResampler"]

_CROSSINGS = 24  # zero crossings of the sinc on each side: 1.6 ms at 16 kHz
_ROLL_OFF = 0.92  # of the lower Nyquist frequency, where the filter is 6 dB down
_BETA = 7.0  # Kaiser window: images and aliases 70 dB down
_MOST_PHASES = 100_000
_LONGEST_PART = 512  # samples; the windows of more do not fit into a small cache


class LiveResampler:
    """Resamples mono chunks of a live stream; every output comes as soon as it can.

    A windowed sinc in polyphase form (Smith and Gossett, 1984). soxr, which files are read
    with, works in blocks and keeps up to 40 ms back at its high quality: too long to wait for
    when a step lasts 80 ms. The chunks may have any length.

    Raises:
        UsageError: the rates have no small common ratio.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        common = math.gcd(from_hz, to_hz)
        self._up, self._down = to_hz // common, from_hz // common
        self._half = 0
        if from_hz == to_hz:
            return
        if self._up > _MOST_PHASES:
            raise UsageError(f"{from_hz} Hz cannot be resampled to {to_hz} Hz as a live stream")
        lower = _ROLL_OFF * min(1.0, to_hz / from_hz)  # cut-off in units of the input's Nyquist
        self._half = half = math.ceil(_CROSSINGS / lower)
        phases = np.arange(self._up)[:, None] / self._up
        away = phases - np.arange(1 - half, half + 1)[None, :]  # input samples from the output
        window = np.i0(_BETA * np.sqrt(np.maximum(0.0, 1 - (away / half) ** 2)))
        filters = np.sinc(lower * away) * window
        filters /= filters.sum(axis=1, keepdims=True)
        self._filters: NDArray[np.float32] = filters.astype(np.float32)
        self._delay_s = half / from_hz
        # What is held back and the part that is new; windows of it are seen without a copy.
        self._buffer: NDArray[np.float32] = np.zeros(2 * half + _LONGEST_PART, np.float32)
        self._windows = np.lib.stride_tricks.sliding_window_view(self._buffer, 2 * half)
        self._n_held = half - 1  # silence before the first sample
        self._at = 0  # of the next output, in _up parts of an input sample; 0: _buffer[half - 1]
        most = _LONGEST_PART * self._up // self._down + 2
        self._places = self._down * np.arange(most)

    @property
    def delay_ms(self) -> float:
        """How long an output waits for the input samples after it."""
        return 1000 * self._delay_s if self._half else 0.0

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """What is ready after ``samples``, ``(n,) float32`` to ``(m,) float32``."""
        if not self._half:
            return samples
        parts = [
            self._push(samples[i : i + _LONGEST_PART])
            for i in range(0, len(samples), _LONGEST_PART)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.float32), *parts])

    def _push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        n_filled = self._n_held + len(samples)
        self._buffer[self._n_held : n_filled] = samples
        n_windows = max(0, n_filled - 2 * self._half + 1)
        n = max(0, -((self._at - n_windows * self._up) // self._down))
        starts, phases = np.divmod(self._at + self._places[:n], self._up)
        out: NDArray[np.float32] = np.einsum(
            "kt,kt->k", self._windows[starts], self._filters[phases]
        )
        self._at += self._down * n
        done = min(self._at // self._up, n_filled)
        self._at -= done * self._up
        self._n_held = n_filled - done
        self._buffer[: self._n_held] = self._buffer[done:n_filled].copy()
        return out
