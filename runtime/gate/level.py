"""Is a window louder than the room? A noise floor follower that costs microseconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import UsageError

__all__ = ["LevelGate", "LevelSettings"]

_EMPHASIS = np.float32(0.97)  # takes fan rumble and mains hum down by 10 to 35 dB


@dataclass(frozen=True)
class LevelSettings:
    """When a window is worth a closer look.

    Attributes:
        floor_db: level under which nothing can be speech, dB of full scale after emphasis.
        margin_db: how far above the noise of the room a window must be.
        rise_db_per_s: how fast the noise estimate follows a room that gets louder.
        hang_windows: quiet windows after a loud one that are still looked at.
    """

    floor_db: float = -75.0
    margin_db: float = 5.0
    rise_db_per_s: float = 2.0
    hang_windows: int = 10

    def __post_init__(self) -> None:
        if self.margin_db < 0 or self.rise_db_per_s <= 0 or self.hang_windows < 0:
            raise UsageError(
                "the level gate needs margin_db >= 0, rise_db_per_s > 0 and hang_windows >= 0, "
                f"got {self.margin_db}, {self.rise_db_per_s}, {self.hang_windows}"
            )


class LevelGate:
    """Follows the level of the quietest windows, as minimum statistics do (Martin, 2001)."""

    def __init__(self, window_s: float, settings: LevelSettings | None = None) -> None:
        self._settings = settings or LevelSettings()
        self._rise_db = self._settings.rise_db_per_s * window_s
        self.reset()

    def reset(self) -> None:
        """Forget the room."""
        self.noise_db: float | None = None
        self.level_db = -math.inf
        self._hang = 0

    def is_loud(self, window: NDArray[np.float32]) -> bool:
        """Whether ``window`` ``(n,) float32`` may hold speech.

        The first window of a stream counts as loud: nothing is known of the room yet.
        """
        settings = self._settings
        change = window[1:] - _EMPHASIS * window[:-1]
        power = float(np.dot(change, change)) / len(change)
        level = self.level_db = 10.0 * math.log10(power + 1e-12)
        if self.noise_db is None:
            self.noise_db = max(level, settings.floor_db)
            self._hang = settings.hang_windows
            return level > settings.floor_db
        loud = level > max(settings.floor_db, self.noise_db + settings.margin_db)
        self.noise_db = max(min(level, self.noise_db + self._rise_db), settings.floor_db)
        if loud:
            self._hang = settings.hang_windows
        elif self._hang:
            self._hang -= 1
            return level > settings.floor_db
        return loud
