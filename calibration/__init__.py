"""Choosing calibration clips, activation ranges, and the temperature of probabilities."""

from __future__ import annotations

from edge_ser.calibration.clips import choose_clips, part_speakers
from edge_ser.calibration.confidence import fit_temperature
from edge_ser.calibration.ranges import METHODS, RangeReport, activation_ranges
from edge_ser.calibration.stepper import FloatStepper

__all__ = [
    "METHODS",
    "FloatStepper",
    "RangeReport",
    "activation_ranges",
    "choose_clips",
    "fit_temperature",
    "part_speakers",
]
