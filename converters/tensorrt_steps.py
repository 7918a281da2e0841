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

__all__ = ["tensorrt_steps"]


def tensorrt_steps(weights: StepWeights, ranges: Mapping[str, Range]) -> dict[str, StepModel]:
    """The step for TensorRT by target name: ``tensorrt`` in INT8, ``tensorrt-float`` in FP32.

    Both are opset 16, which TensorRT 8.5 to 11 and TensorRT for RTX parse. FP16 forms are made
    from these two when an engine is built (:func:`edge_ser.converters.half.to_half`).
    """
    padded = pad_heads(weights)
    int8 = build_step(padded, TensorRtInt8Form(ranges))
    return {
        "tensorrt": replace(int8, onnx=quantize_rest(int8.onnx, ranges)),
        "tensorrt-float": build_step(padded, TensorRtFloatForm(half_weights=True)),
    }
