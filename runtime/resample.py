"""Another sample rate for a live stream, with nothing held back."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import UsageError
from edge_ser.runtime.timing import clock

__all__ = ["LiveResampler"]

_CROSSINGS = 24  # zero crossings of the sinc on each side, at the lower rate
_ROLL_OFF = 0.92  # of the lower Nyquist frequency, where the filter is 6 dB down
_BETA = 7.0  # Kaiser window: images and aliases 70 dB down
_MOST_PHASES = 4000
_FINE = 48  # parts of an input sample
_LONGEST_PART = 1024  # samples; the windows of more do not fit into a small cache
_BAND = 64  # outputs of one product

_Array = NDArray[np.float32]


class LiveResampler:
    """Resamples mono chunks of a live stream; an output needs no input after its own time.

    A windowed sinc in polyphase form (Smith and Gossett, 1984), made minimum-phase by folding
    its cepstrum (Oppenheim and Schafer, 1975): features of the magnitude do not mind its phase,
    and what was heard is there some tenths of a millisecond later. soxr, which files are read
    with, works in blocks and keeps up to 40 ms back at its high quality: too long to wait for
    when a step lasts 80 ms. The chunks may have any length; blocks of 10 or 20 ms cost
    least, for the phases repeat in them and a few products with fixed weights do.

    Attributes:
        timed: whether :meth:`push` notes how long it takes.

    Raises:
        UsageError: the rates have no small common ratio.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        common = math.gcd(from_hz, to_hz)
        self._up, self._down = up, down = to_hz // common, from_hz // common
        self._taps = 0
        self.timed = False
        self._took_ns = 0
        if from_hz == to_hz:
            return
        if max(up, down) > _MOST_PHASES:
            raise UsageError(f"{from_hz} Hz cannot be resampled to {to_hz} Hz as a live stream")
        # Designed on a coarser grid where up is large: the response is far smoother than that.
        fine = min(up, _FINE)
        prototype = _minimum_phase(_low_pass(fine, min(1.0, to_hz / from_hz)))
        grid = np.arange(len(prototype) * up // fine) * (fine / up)
        prototype = np.interp(grid, np.arange(len(prototype)), prototype)
        # Row p weighs the newest input last; its output is p / up samples younger than that.
        self._taps = taps = -(-len(prototype) // up)
        padded = np.zeros(taps * up)
        padded[: len(prototype)] = prototype
        filters = padded.reshape(taps, up).T[:, ::-1]
        filters = filters / filters.sum(axis=1, keepdims=True)
        self._filters: _Array = filters.astype(np.float32)
        # What the next outputs look back at, and the part that is new.
        self._buffer: _Array = np.zeros(taps + _LONGEST_PART, np.float32)
        self._windows = np.lib.stride_tricks.sliding_window_view(self._buffer, taps)
        self._at = 0  # of the next output after the first new input, in parts of an input
        self._places = down * np.arange(_LONGEST_PART * up // down + 2)
        # A frame is the shortest part after which the phases come again, or a few of those.
        n_repeats = max(1, _BAND // up)
        self._frame, self._n_frame = n_repeats * down, n_repeats * up
        self._bands = self._make_bands() if self._frame <= _LONGEST_PART else []
        self._part = max(1, _LONGEST_PART // self._frame) * self._frame
        self._part = min(self._part, _LONGEST_PART)

    def _make_bands(self) -> list[tuple[int, int, _Array]]:
        """``(first input, first output, weights (inputs, outputs))``, which cover a frame."""
        bands = []
        for first in range(0, self._n_frame, _BAND):
            places = self._down * np.arange(first, min(first + _BAND, self._n_frame))
            newest, phases = np.divmod(places, self._up)
            weights = np.zeros((newest[-1] - newest[0] + self._taps, len(places)), np.float32)
            for column, (begin, phase) in enumerate(zip(newest - newest[0], phases, strict=True)):
                weights[begin : begin + self._taps, column] = self._filters[phase]
            bands.append((int(newest[0]), first, weights))
        return bands

    def push(self, samples: _Array) -> _Array:
        """All outputs before the sample that comes next, ``(n,) float32`` to ``(m,) float32``."""
        if not self._taps:
            return samples
        if not self.timed:
            return self._resampled(samples)
        begin = clock()
        resampled = self._resampled(samples)
        self._took_ns += clock() - begin
        return resampled

    @property
    def active(self) -> bool:
        """Whether the rates differ."""
        return self._taps > 0

    def taken_ns(self) -> int:
        """Time that was taken since the last call, while ``timed``."""
        took, self._took_ns = self._took_ns, 0
        return took

    def _resampled(self, samples: _Array) -> _Array:
        parts = [
            self._push(samples[i : i + self._part]) for i in range(0, len(samples), self._part)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.float32), *parts])

    def _push(self, samples: _Array) -> _Array:
        held, n_new = self._taps - 1, len(samples)
        self._buffer[held : held + n_new] = samples
        # Outputs before the time of the input that comes next.
        n = max(0, (n_new * self._up - 1 - self._at) // self._down + 1)
        out: _Array = np.empty(n, np.float32)
        n_frames = n_new // self._frame if self._bands and self._at == 0 else 0
        for number in range(n_frames):
            old, new = number * self._frame, number * self._n_frame
            for first, begin, weights in self._bands:
                rows, columns = weights.shape
                heard = self._buffer[old + first : old + first + rows]
                np.dot(heard, weights, out=out[new + begin : new + begin + columns])
        done = n_frames * self._n_frame
        if done < n:
            newest, phases = np.divmod(self._at + self._places[done:n], self._up)
            np.einsum("kt,kt->k", self._windows[newest], self._filters[phases], out=out[done:])
        self._at += self._down * n - n_new * self._up
        self._buffer[:held] = self._buffer[n_new : n_new + held].copy()
        return out


def _low_pass(up: int, lower: float) -> NDArray[np.float64]:
    """Taps at ``up`` times the input rate; ``lower`` is the lower rate over the input's."""
    cut_off = _ROLL_OFF * lower  # in units of the input's Nyquist frequency
    half = math.ceil(_CROSSINGS / cut_off) * up
    away = np.arange(1 - half, half) / up
    return np.sinc(cut_off * away) * np.kaiser(len(away), _BETA)


def _minimum_phase(taps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Taps with the same magnitude and as much as possible of it at the beginning."""
    size = 1 << (16 * len(taps) - 1).bit_length()
    magnitude = np.abs(np.fft.rfft(taps, size))
    cepstrum = np.fft.irfft(np.log(np.maximum(magnitude, 3e-5 * magnitude.max())), size)
    cepstrum[1 : size // 2] *= 2
    cepstrum[size // 2 + 1 :] = 0
    whole: NDArray[np.float64] = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), size)
    # The tail that carries less than the aliases do is left out, softly.
    energy = np.cumsum(whole[: len(taps)][::-1] ** 2)[::-1]
    n = int(np.searchsorted(-energy, -1e-8 * energy[0]))
    fade = np.cos(np.linspace(0, np.pi / 2, n // 8)) ** 2
    kept: NDArray[np.float64] = whole[:n].copy()
    kept[-len(fade) :] *= fade
    return kept
