"""Clips through a step model, as often as a conversion needs it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_ser.calibration import FloatStepper
from edge_ser.converters.step_graph import StepModel, state_specs

__all__ = ["logits_of"]


def logits_of(
    model: StepModel, mels: Sequence[NDArray[np.float32]], step_frames: int
) -> list[NDArray[np.float32]]:
    """Logits ``(steps, labels)`` of every clip, each with fresh state."""
    stepper = FloatStepper(model.onnx, state_specs(model))
    return [stepper.logits(mel, step_frames) for mel in mels]
