"""The level gate in front of the detector."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_ser.runtime.gate.level import LevelGate, LevelSettings
from edge_ser.runtime.gate.silero import SileroDetector

__all__ = ["Gate", "SpeechGate"]


class Gate(Protocol):
    """What cuts a stream into windows and gives each a probability of speech.

    Attributes:
        rate_hz: rate it hears.
        window: samples of one window.
    """

    rate_hz: int
    window: int

    def probability(self, window: NDArray[np.float32]) -> float:
        """Probability that ``window`` ``(window,) float32`` in -1..1 holds speech."""
        ...

    def reset(self) -> None:
        """Forget the stream."""
        ...


class SpeechGate:
    """Silero's detector, asleep while no window is louder than the room.

    While it sleeps the probability is 0 and the detector's state stays as it was; once
    awake it stays so until ``hang_windows`` windows were neither loud nor spoken.

    Args:
        level: settings of the level gate; None for the defaults.
        always: run the detector on every window, for comparison.
    """

    rate_hz = SileroDetector.rate_hz
    window = SileroDetector.window

    def __init__(self, level: LevelSettings | None = None, *, always: bool = False) -> None:
        self._detector = SileroDetector()
        self._level = LevelGate(self.window, self.rate_hz, level)
        self._always = always
        self._speaking = False
        self.n_windows = 0
        self.n_detected = 0

    def probability(self, window: NDArray[np.float32]) -> float:
        """Probability of speech in ``window`` ``(512,) float32``, 0 while it sleeps."""
        self.n_windows += 1
        loud = self._level.is_loud(window)
        if not (loud or self._speaking or self._always):
            self._detector.skip(window)
            return 0.0
        self.n_detected += 1
        probability = self._detector.probability(window)
        # A speaker who goes on under the noise must not be cut off by the level alone.
        self._speaking = probability > 0.3
        return probability

    def reset(self) -> None:
        """Forget the stream and the room."""
        self._detector.reset()
        self._level.reset()
        self._speaking = False
