"""The float step, the clips that calibrate and judge it, and the form that packs carry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_ser.audio import load_mono
from edge_ser.calibration import FloatStepper, activation_ranges, choose_clips, part_speakers
from edge_ser.converters.attention import pad_heads
from edge_ser.converters.covariances import input_covariances
from edge_ser.converters.finer_votes import with_room_for_finer_votes
from edge_ser.converters.forms import FloatForm, quantizable
from edge_ser.converters.measured import Measured
from edge_ser.converters.step_graph import StepModel, build_step, state_specs
from edge_ser.converters.tensorrt_forms import TensorRtFloatForm
from edge_ser.converters.tensorrt_steps import tensorrt_step
from edge_ser.converters.weights import fold_student
from edge_ser.corpora import Clip
from edge_ser.frontend import LogMel
from edge_ser.models.checkpoint import Checkpoint

__all__ = ["Material", "calibration_feeds", "float_step", "our_form", "prepare"]


@dataclass(frozen=True)
class Material:
    """What both sides are given.

    Attributes:
        ranged: log-mel clips that ranges are measured on, ``(n_mels, frames) float32``.
        judged: those that the forms are compared on, of other speakers.
        truth: index of the label of each judged clip.
    """

    checkpoint: Checkpoint
    ranged: tuple[NDArray[np.float32], ...]
    judged: tuple[NDArray[np.float32], ...]
    truth: tuple[int, ...]


def prepare(
    checkpoint: Checkpoint, clips: Sequence[Clip], n_ranged: int, n_judged: int, seed: int
) -> Material:
    """Choose and read clips; those of the checkpoint's test speakers judge, if there are any.

    Raises:
        InputError: the clips cannot serve (none, or one label).
    """
    tested = set(checkpoint.training.get("test_speakers", ()))
    second: Sequence[Clip] = [clip for clip in clips if clip.speaker in tested]
    first: Sequence[Clip] = [clip for clip in clips if clip.speaker not in tested]
    if not second:
        first, second, _ = part_speakers(clips, seed)
    front_end = LogMel(checkpoint.frontend)
    ranged = choose_clips(first, n_ranged, seed)
    judged = choose_clips(second, n_judged, seed + 1)

    def mel(clip: Clip) -> NDArray[np.float32]:
        return front_end.clip(load_mono(clip.path, front_end.spec.rate_hz))

    labels = checkpoint.student.config.labels
    return Material(
        checkpoint,
        tuple(map(mel, ranged)),
        tuple(map(mel, judged)),
        tuple(labels.index(clip.label) for clip in judged),
    )


def float_step(checkpoint: Checkpoint) -> StepModel:
    """The step in float32 with the very nodes of the INT8 step for TensorRT, but no Q/DQ."""
    return build_step(pad_heads(fold_student(checkpoint.student)), TensorRtFloatForm())


def our_form(material: Material, method: str) -> onnx.ModelProto:
    """The INT8 step for TensorRT as ``edge-ser convert`` makes it.

    Args:
        method: one of ``edge_ser.calibration.METHODS``.
    """
    weights = with_room_for_finer_votes(fold_student(material.checkpoint.student))
    plain = build_step(weights, FloatForm())
    found = activation_ranges(
        plain.onnx,
        state_specs(plain),
        quantizable(weights),
        material.ranged,
        material.checkpoint.student.config.step_frames,
        method,
    )
    size = material.checkpoint.student.config.step_frames
    measured = Measured.of(found, input_covariances(plain, weights, material.ranged, size))
    return tensorrt_step(measured.for_tensorrt(weights), measured.ranges).onnx


def calibration_feeds(step: StepModel, material: Material) -> dict[str, NDArray[Any]]:
    """All inputs of all streaming steps, with the state that they really have.

    Returns:
        Per input of ``step`` its values one after the other on axis 0.
    """
    stepper = FloatStepper(step.onnx, state_specs(step))
    size = material.checkpoint.student.config.step_frames
    kept: dict[str, list[NDArray[Any]]] = {}
    for mel in material.ranged:
        for feed, _, _ in stepper.fed(mel, size):
            for name, value in feed.items():
                kept.setdefault(name, []).append(value)
    return {name: np.concatenate(values) for name, values in kept.items()}
