"""Choosing calibration clips, activation ranges, and the temperature of probabilities."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edge_ser.calibration.clips import choose_clips, part_speakers
from edge_ser.calibration.confidence import fit_temperature

if TYPE_CHECKING:
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

# These need onnx, which training, that takes temperatures from here, does without.
_HOMES = {
    "METHODS": "ranges",
    "RangeReport": "ranges",
    "activation_ranges": "ranges",
    "FloatStepper": "stepper",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
