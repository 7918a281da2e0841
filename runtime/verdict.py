"""From logits to probabilities that can be trusted, for as much of an utterance as was heard."""

from __future__ import annotations

from math import exp

from edge_ser.pack import Calibration

__all__ = ["Verdict"]


class Verdict:
    """The probabilities of one utterance so far, under the temperatures of its pack.

    Attributes:
        probabilities: of the labels, after the last step; empty before the first.
        steps: of this utterance.
    """

    def __init__(self, calibration: Calibration, step_s: float) -> None:
        self._sharpness = [1.0 / t for t in calibration.step_temperatures(step_s)]
        self._latest = len(self._sharpness) - 1
        self.probabilities: list[float] = []
        self.steps = 0

    def reset(self) -> None:
        """Begin a new utterance."""
        self.probabilities = []
        self.steps = 0

    def step(self, logits: list[float]) -> list[float]:
        """Take the logits of the next step; the temperature is that of what was heard so far."""
        steps, latest = self.steps, self._latest
        self.steps = steps + 1
        sharpness = self._sharpness[steps if steps < latest else latest]
        self.probabilities = probabilities = _softmax(logits, sharpness)
        return probabilities

    def restore(self, probabilities: list[float], steps: int) -> None:
        """Take what :attr:`probabilities` were after ``steps`` steps."""
        self.probabilities, self.steps = probabilities, steps

    def conclude(self) -> None:
        """Put the probabilities under the temperature of whole utterances."""
        ratio = self._sharpness[-1] / self._sharpness[min(max(self.steps - 1, 0), self._latest)]
        if ratio != 1.0:
            powers = [probability**ratio for probability in self.probabilities]
            total = sum(powers)
            self.probabilities = [power / total for power in powers]


def _softmax(logits: list[float], sharpness: float) -> list[float]:
    """Probabilities of a handful of logits; plain Python beats array calls at this size."""
    top = max(logits)
    powers = [exp((value - top) * sharpness) for value in logits]
    total = sum(powers)
    return [power / total for power in powers]
