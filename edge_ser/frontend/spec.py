"""What the front end computes, as data that travels in a pack, and its mel filter bank."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LogMelSpec", "mel_filterbank"]


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
    floor: float = 1e-4  # added to the levelled mel power before the logarithm, -40 dB
    level_floor: float = 1e-4  # the level never falls below this mel power
    level_decay_db: float = 2.0  # per second

    def __post_init__(self) -> None:
        if not 0 < self.hop <= self.window <= self.n_fft:
            raise ValueError(
                f"need 0 < hop <= window <= n_fft, got {self.hop}, {self.window}, {self.n_fft}"
            )
        if not 0 <= self.low_hz < self.high_hz <= self.rate_hz / 2:
            raise ValueError(
                f"need 0 <= low_hz < high_hz <= {self.rate_hz / 2:g}, "
                f"got {self.low_hz:g} and {self.high_hz:g}"
            )
        if self.n_mels < 1 or self.step_frames < 1:
            raise ValueError(
                f"need n_mels >= 1 and step_frames >= 1, got {self.n_mels}, {self.step_frames}"
            )
        if self.floor <= 0 or self.level_floor <= 0 or self.level_decay_db < 0:
            raise ValueError(
                f"need floor > 0, level_floor > 0 and level_decay_db >= 0, "
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
            ValueError: a key is unknown or missing, or a value makes no sense.
        """
        known = {field.name for field in fields(cls)}
        wrong = sorted(set(values) ^ known)
        if wrong:
            raise ValueError(f"front end spec: key {wrong[0]!r} is unknown or missing")
        return cls(**values)


def mel_filterbank(spec: LogMelSpec) -> NDArray[np.float32]:
    """Triangular filters on Kaldi's mel scale, ``1127 ln(1 + f / 700)``.

    Returns:
        ``(n_mels, n_fft // 2 + 1) float32``. As in Kaldi the triangles are linear in mel,
        not in hertz, and have unit height.
    """

    def mel(hz: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return 1127.0 * np.log1p(np.asarray(hz, dtype=np.float64) / 700.0)

    edges = np.linspace(mel(spec.low_hz), mel(spec.high_hz), spec.n_mels + 2)
    bins = mel(np.arange(spec.n_fft // 2 + 1) * (spec.rate_hz / spec.n_fft))
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (bins - left) / (centre - left)
    falling = (right - bins) / (right - centre)
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
