"""Does a window stand out of the room? Noise followers in a few bands, for microseconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import UsageError
from edge_ser.frontend.fourier import real_transform

__all__ = ["LevelGate", "LevelSettings"]

# In white noise speech stands out at its formants long before it does in the whole level.
# Below 200 Hz live fans and mains hum.
_EDGES_HZ = (200, 500, 900, 1500, 2500, 4000, 7000)


@dataclass(frozen=True)
class LevelSettings:
    """When a window is worth a closer look.

    Attributes:
        floor_db: level of a band under which nothing can be speech, dB of full scale.
        margin_db: how far above the noise of the room one band must be.
        rise_db_per_s: how fast the noise estimate follows a room that gets louder.
        hang_windows: quiet windows after a loud one that are still looked at.
    """

    floor_db: float = -80.0
    margin_db: float = 8.0
    rise_db_per_s: float = 2.0
    hang_windows: int = 10

    def __post_init__(self) -> None:
        if self.margin_db < 0 or self.rise_db_per_s <= 0 or self.hang_windows < 0:
            raise UsageError(
                "the level gate needs margin_db >= 0, rise_db_per_s > 0 and hang_windows >= 0, "
                f"got {self.margin_db}, {self.rise_db_per_s}, {self.hang_windows}"
            )


class LevelGate:
    """Follows the quietest windows of each band, as minimum statistics do (Martin, 2001)."""

    def __init__(self, window: int, rate_hz: int, settings: LevelSettings | None = None) -> None:
        self._settings = settings or LevelSettings()
        self._rise = np.float32(10 ** (self._settings.rise_db_per_s * window / rate_hz / 10))
        self._margin = np.float32(10 ** (self._settings.margin_db / 10))
        self._floor = np.float32(10 ** (self._settings.floor_db / 10))
        self._shape = np.hanning(window).astype(np.float32)
        edges = [round(hz * window / rate_hz) for hz in _EDGES_HZ]
        self._transform = real_transform(window)
        self._tapered = np.zeros((1, window), np.float32)
        self._spectrum = np.zeros((1, window // 2 + 1), np.complex64)
        # Real and imaginary parts lie side by side, so a band is the sum of their squares.
        self._parts = self._spectrum.view(np.float32)[0, 2 * edges[0] : 2 * edges[-1]]
        self._starts = 2 * (np.array(edges[:-1]) - edges[0])
        # Power of a band as its share of the mean square of the window (Parseval, one side).
        self._scale = np.float32(2.0 / (window * float(np.sum(self._shape**2))))
        self.reset()

    def reset(self) -> None:
        """Forget the room."""
        self._noise: NDArray[np.float32] | None = None
        self._hang = 0

    @property
    def noise_db(self) -> float:
        """Noise of the room between 200 and 7000 Hz, dB of full scale."""
        return -math.inf if self._noise is None else 10 * math.log10(float(self._noise.sum()))

    def is_loud(self, window: NDArray[np.float32]) -> bool:
        """Whether ``window`` ``(n,) float32`` may hold speech.

        The first windows of a stream count as loud: nothing is known of the room yet.
        """
        np.multiply(window, self._shape, self._tapered[0])
        self._transform(self._tapered, self._spectrum)
        np.multiply(self._parts, self._parts, self._parts)
        bands = np.add.reduceat(self._parts, self._starts) * self._scale
        np.maximum(bands, self._floor, out=bands)
        if self._noise is None:
            self._noise = bands
            self._hang = self._settings.hang_windows
            return bool((bands > self._floor).any())
        loud = bool((bands > self._noise * self._margin).any())
        self._noise = np.minimum(bands, self._noise * self._rise)
        if loud:
            self._hang = self._settings.hang_windows
        elif self._hang:
            self._hang -= 1
            return bool((bands > self._floor).any())
        return loud
