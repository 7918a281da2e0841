"""What the front end computes, as data that travels in a pack, and its mel filter bank."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LogMelSpec", "mel_centres_hz", "mel_filterbank"]

# A spec may come from a pack of unknown origin: nothing in it may ask for endless memory.
_HIGHEST_RATE_HZ = 384_000
_LONGEST_STEP_S = 10


@dataclass(frozen=True)
class LogMelSpec:
    """Contract of the log-mel front end.

    Frame ``t`` covers the samples ``[t*hop - history, t*hop - history + window)`` with
    ``history = window - hop``: the stream is preceded by ``history`` zeros, so every
    ``hop`` new samples complete exactly one frame and no frame sees the future.

    Frames are made a step of ``step_frames`` at a time. Each step is divided by the level of
    the stream, a follower of the mean mel power that rises at once and falls by
    ``level_decay_db`` per second, so that neither the gain of the microphone nor the distance
    of the speaker matters. ``floor`` is relative to that level.
    """

    rate_hz: int = 16000
    window: int = 400  # samples, 25 ms
    hop: int = 160  # samples, 10 ms
    n_fft: int = 512
    n_mels: int = 64
    low_hz: float = 60.0
    high_hz: float = 7600.0
    step_frames: int = 8  # 80 ms
    floor: float = 1e-7  # added to the levelled mel power before the logarithm, -70 dB
    level_floor: float = 1e-4  # the level never falls below this mel power
    level_decay_db: float = 2.0  # per second

    def __post_init__(self) -> None:
        if not 0 < self.rate_hz <= _HIGHEST_RATE_HZ:
            raise ValueError(f"need 0 < rate_hz <= {_HIGHEST_RATE_HZ}, got {self.rate_hz}")
        if not 0 < self.hop <= self.window <= self.n_fft <= self.rate_hz:
            raise ValueError(
                f"need 0 < hop <= window <= n_fft <= rate_hz, "
                f"got {self.hop}, {self.window}, {self.n_fft}, {self.rate_hz}"
            )
        if not 0 <= self.low_hz < self.high_hz <= self.rate_hz / 2:
            raise ValueError(
                f"need 0 <= low_hz < high_hz <= {self.rate_hz / 2:g}, "
                f"got {self.low_hz:g} and {self.high_hz:g}"
            )
        if not 1 <= self.n_mels <= self.n_fft // 2:
            raise ValueError(f"need 1 <= n_mels <= n_fft / 2, got {self.n_mels}")
        if not 1 <= self.step_frames * self.hop <= _LONGEST_STEP_S * self.rate_hz:
            raise ValueError(
                f"need step_frames >= 1 and steps of at most {_LONGEST_STEP_S} s, "
                f"got {self.step_frames} frames of {self.hop} samples"
            )
        positive = 0 < self.floor <= 1 and 0 < self.level_floor <= 1
        if not positive or not 0 <= self.level_decay_db < math.inf:
            raise ValueError(
                f"need floor and level_floor above 0 and up to 1, level_decay_db >= 0 and finite, "
                f"got {self.floor}, {self.level_floor}, {self.level_decay_db}"
            )

    @property
    def history(self) -> int:
        """Samples of the previous step that the first frame of a step still covers."""
        return self.window - self.hop

    @property
    def step_samples(self) -> int:
        """Samples of one step."""
        return self.step_frames * self.hop

    @property
    def step_ms(self) -> float:
        """Duration of one step."""
        return 1000.0 * self.step_samples / self.rate_hz

    @property
    def level_keep(self) -> float:
        """What is left of the level after one step in which nothing was louder."""
        return float(10.0 ** (-self.level_decay_db * self.step_ms / 10_000.0))

    @property
    def silence(self) -> float:
        """The log-mel value of digital silence."""
        return float(np.log(np.float32(self.floor)))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LogMelSpec:
        """The spec in ``values``.

        Raises:
            ValueError: a key is unknown or missing, or a value is of the wrong type or makes
                no sense.
        """
        known = {field.name for field in fields(cls)}
        wrong = sorted(set(values) ^ known)
        if wrong:
            raise ValueError(f"front end spec: key {wrong[0]!r} is unknown or missing")
        for field in fields(cls):
            value, whole = values[field.name], isinstance(field.default, int)
            fits = (int,) if whole else (int, float)
            if type(value) not in fits:
                raise ValueError(
                    f"front end spec: {field.name!r} should be a "
                    f"{'whole ' if whole else ''}number, is {value!r}"
                )
        return cls(**values)


def _mel(hz: NDArray[np.floating[Any]] | float) -> NDArray[np.float64]:
    """Kaldi's mel scale."""
    return 1127.0 * np.log1p(np.asarray(hz, dtype=np.float64) / 700.0)


def _edges(spec: LogMelSpec) -> NDArray[np.float64]:
    """Where the triangles begin, peak and end, in mel: ``n_mels + 2`` places."""
    return np.linspace(_mel(spec.low_hz), _mel(spec.high_hz), spec.n_mels + 2)


def mel_centres_hz(spec: LogMelSpec) -> NDArray[np.float64]:
    """Frequency at which each band hears best, ``(n_mels,)`` rising."""
    centres: NDArray[np.float64] = 700.0 * np.expm1(_edges(spec)[1:-1] / 1127.0)
    return centres


def mel_filterbank(spec: LogMelSpec) -> NDArray[np.float32]:
    """Triangular filters on Kaldi's mel scale, ``1127 ln(1 + f / 700)``.

    Returns:
        ``(n_mels, n_fft // 2 + 1) float32``. As in Kaldi the triangles are linear in mel,
        not in hertz, and have unit height.
    """
    edges = _edges(spec)
    bins = _mel(np.arange(spec.n_fft // 2 + 1) * (spec.rate_hz / spec.n_fft))
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (bins - left) / (centre - left)
    falling = (right - bins) / (right - centre)
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
