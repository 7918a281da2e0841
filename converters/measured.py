"""What calibration finds out about a network, and the rounded weights that it leads to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_ser.calibration import RangeReport
from edge_ser.converters.cpu_step import WEIGHT_BITS
from edge_ser.converters.forms import Range
from edge_ser.converters.weight_rounding import rounded_weights
from edge_ser.converters.weights import StepWeights

__all__ = ["Measured"]


@dataclass(frozen=True)
class Measured:
    """Of the float step, over streaming steps with real state.

    Attributes:
        ranges: of the activations.
        means: of every channel of activations that have channels, ``(channels,)``.
        covariances: of the inputs of convolutions and the fusion, see
            ``covariances.input_covariances``; without them every weight is rounded alone.
    """

    ranges: dict[str, Range] = field(default_factory=dict)
    means: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    covariances: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @classmethod
    def of(cls, report: RangeReport, covariances: Mapping[str, NDArray[np.float64]]) -> Measured:
        """From measured ranges and covariances."""
        return cls(
            {name: Range(*span) for name, span in report.ranges.items()},
            {name: np.asarray(values, np.float32) for name, values in report.means.items()},
            covariances,
        )

    def for_cpu(self, weights: StepWeights, keep: Collection[str] = ()) -> StepWeights:
        """``weights`` as ``cpu_step`` rounds them, but for the layers ``keep``."""
        return rounded_weights(
            weights, self.means, WEIGHT_BITS, self.ranges, keep, self.covariances
        )

    def for_tensorrt(self, weights: StepWeights) -> StepWeights:
        """``weights`` as ``tensorrt_step`` rounds them."""
        return rounded_weights(weights, self.means, 8, covariances=self.covariances)
