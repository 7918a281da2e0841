"""How a pack turns logits into probabilities that can be trusted, and how far they can be."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

__all__ = ["Calibration", "CoveragePoint", "HeardPoint", "ReliabilityBin"]

TEMPERATURES = (0.01, 100.0)
"""What dividing logits by can mean; far beyond, probabilities overflow or are all the same."""


@dataclass(frozen=True)
class HeardPoint:
    """Confidence after so much of an utterance, on clips that are at least as long.

    Attributes:
        heard_s: seconds since speech began.
        n: clips.
        accuracy: share of right labels.
        temperature: divides the logits from here on.
        ece_before: expected calibration error under the temperature of whole clips.
        ece_after: and under its own.
    """

    heard_s: float
    n: int
    accuracy: float
    temperature: float
    ece_before: float
    ece_after: float

    def __post_init__(self) -> None:
        low, high = TEMPERATURES
        if not (0 < self.heard_s < math.inf and low <= self.temperature <= high):
            raise ValueError(
                f"temperature {self.temperature} after {self.heard_s} s is out of range"
            )


@dataclass(frozen=True)
class CoveragePoint:
    """What abstaining buys: a threshold, who is left, and how often they are right.

    Attributes:
        abstain_below: confidence under which an event abstains.
        coverage: share of clips that do not.
        accuracy: share of right labels among them; 1 minus the risk.
    """

    abstain_below: float
    coverage: float
    accuracy: float


@dataclass(frozen=True)
class ReliabilityBin:
    """Clips of about the same calibrated confidence.

    Attributes:
        confidence: their mean.
        accuracy: share of right labels among them.
        n: how many.
    """

    confidence: float
    accuracy: float
    n: int


@dataclass(frozen=True)
class Calibration:
    """How logits become probabilities that can be trusted.

    Attributes:
        temperature: divides the logits of whole utterances (Guo et al., ICML 2017, 4.2).
        abstain_below: confidence under which an event abstains.
        ece_before: expected calibration error without the temperature.
        ece_after: and with it.
        source: what it was measured on.
        heard: the same for utterances of which only the beginning was heard, in order.
        risk_coverage: thresholds to choose from, falling coverage.
        reliability: confidence against accuracy of whole utterances, rising confidence.
    """

    temperature: float = 1.0
    abstain_below: float = 0.0
    ece_before: float | None = None
    ece_after: float | None = None
    source: str = "none"
    heard: tuple[HeardPoint, ...] = ()
    risk_coverage: tuple[CoveragePoint, ...] = ()
    reliability: tuple[ReliabilityBin, ...] = ()

    def __post_init__(self) -> None:
        low, high = TEMPERATURES
        if not low <= self.temperature <= high or not 0 <= self.abstain_below <= 1:
            raise ValueError(
                f"temperature {self.temperature} or threshold {self.abstain_below} is out of range"
            )
        times = [point.heard_s for point in self.heard]
        if times != sorted(set(times)):
            raise ValueError(f"seconds heard {times} should rise")

    def temperature_after(self, heard_s: float) -> float:
        """The temperature once ``heard_s`` of an utterance were heard.

        Between two points it changes evenly; beyond the last it is the one of whole
        utterances.
        """
        if not self.heard or heard_s > self.heard[-1].heard_s:
            return self.temperature
        index = bisect_left([point.heard_s for point in self.heard], heard_s)
        right = self.heard[index]
        if index == 0:
            return right.temperature
        left = self.heard[index - 1]
        share = (heard_s - left.heard_s) / (right.heard_s - left.heard_s)
        return left.temperature + share * (right.temperature - left.temperature)

    def step_temperatures(self, step_s: float) -> list[float]:
        """Temperatures of the steps of an utterance from the first on; the last one stays."""
        steps = round(self.heard[-1].heard_s / step_s) if self.heard else 0
        return [
            *(self.temperature_after((index + 1) * step_s) for index in range(steps)),
            self.temperature,
        ]
