"""The models that a pack carries for TensorRT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_ser.converters.attention import pad_heads
from edge_ser.converters.forms import Range
from edge_ser.converters.quantize_rest import quantize_rest
from edge_ser.converters.step_graph import StepModel, build_step
from edge_ser.converters.tensorrt_forms import TensorRtFloatForm, TensorRtInt8Form
from edge_ser.converters.weights import StepWeights

__all__ = ["tensorrt_float_step", "tensorrt_step"]

_LARGEST_TO_MEDIAN = 40.0


def tensorrt_step(weights: StepWeights, ranges: Mapping[str, Range]) -> StepModel:
    """The INT8 step for TensorRT, opset 16, which TensorRT 8.5 to 11 and RTX parse.

    FP16 and float networks can be made from it when an engine is built, see
    :func:`edge_ser.converters.half.to_half` and
    :func:`edge_ser.converters.unquantize.unquantized`.
    """
    int8 = build_step(pad_heads(weights), TensorRtInt8Form(ranges))
    rest = dict(ranges)
    if not _fits_one_grid(weights.classifier[0]):
        del rest["pooled"]  # the classifier stays in float, a thousandth of the products
    return replace(int8, onnx=quantize_rest(int8.onnx, rest))


def _fits_one_grid(weight: NDArray[np.float32]) -> bool:
    """Whether INT8 leaves most weights of each row several levels.

    In a classifier that holds evidence of the depths a few weights are a hundred times the
    others, which would be 0 or 1 of 127.
    """
    sizes = np.abs(weight)
    return bool((sizes.max(axis=1) < _LARGEST_TO_MEDIAN * np.median(sizes, axis=1)).all())


def tensorrt_float_step(weights: StepWeights) -> StepModel:
    """The float step for TensorRT with weights that were never rounded to INT8."""
    return build_step(pad_heads(weights), TensorRtFloatForm(half_weights=True))
