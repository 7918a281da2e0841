"""The models that a pack carries for TensorRT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edge_ser.converters.attention import pad_heads
from edge_ser.converters.forms import Range
from edge_ser.converters.quantize_rest import quantize_rest
from edge_ser.converters.step_graph import StepModel, build_step
from edge_ser.converters.tensorrt_forms import TensorRtFloatForm, TensorRtInt8Form
from edge_ser.converters.weights import StepWeights

__all__ = ["tensorrt_float_step", "tensorrt_step"]


def tensorrt_step(weights: StepWeights, ranges: Mapping[str, Range]) -> StepModel:
    """The INT8 step for TensorRT, opset 16, which TensorRT 8.5 to 11 and RTX parse.

    The classifier, a thousandth of the products, stays in float: that is one kernel less, and
    nothing is rounded where near ties are decided.

    FP16 and float networks can be made from it when an engine is built, see
    :func:`edge_ser.converters.half.to_half` and
    :func:`edge_ser.converters.unquantize.unquantized`.
    """
    int8 = build_step(pad_heads(weights), TensorRtInt8Form(ranges))
    return replace(int8, onnx=quantize_rest(int8.onnx, ranges))


def tensorrt_float_step(weights: StepWeights) -> StepModel:
    """The float step for TensorRT with weights that were never rounded to INT8."""
    return build_step(pad_heads(weights), TensorRtFloatForm(half_weights=True))
