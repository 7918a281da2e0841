"""The numeric forms of the step for TensorRT: float, and INT8 with symmetric Q/DQ."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge_ser.converters.attention import attend_fused
from edge_ser.converters.forms import (
    FloatForm,
    Range,
    float_conv,
    grid_constants,
    quantize_weight,
    signed_grid,
    unchanged,
)
from edge_ser.converters.onnx_writer import GraphWriter, Grid, Value
from edge_ser.converters.weights import ConvWeights

__all__ = ["TensorRtFloatForm", "TensorRtInt8Form"]


class TensorRtFloatForm(FloatForm):
    """Float, with the attention laid out so that TensorRT makes one kernel of it."""

    def attend(
        self, g: GraphWriter, name: str, q: Value, keys: Value, values: Value, sink: str
    ) -> Value:
        """In float."""
        return attend_fused(g, name, q, keys, values, unchanged, sink)


class TensorRtInt8Form:
    """What TensorRT's parser takes for explicit quantization.

    Symmetric signed Q/DQ before every product, weights INT8 per output channel, bias and state
    in float.

    Args:
        ranges: of every activation, by name.
    """

    time_axis = 2

    def __init__(self, ranges: Mapping[str, Range]) -> None:
        self._grids = {name: signed_grid(span) for name, span in ranges.items()}

    def history_grid(self, source: str) -> Grid | None:
        """Float: one scale per tensor is applied where it is used."""
        return None

    def enter(self, g: GraphWriter, value: Value) -> Value:
        """Unchanged."""
        return value

    def conv(self, g: GraphWriter, x: Value, conv: ConvWeights, source: str, relu: bool) -> Value:
        """Q, DQ, Conv with a dequantized weight, ReLU."""
        stored, scales = quantize_weight(conv.weight, bits=8)
        weight = g.node(
            "DequantizeLinear",
            [
                g.constant(f"{conv.name}.weight.stored", stored),
                g.constant(f"{conv.name}.weight.scale", scales),
                g.constant(f"{conv.name}.weight.zero", np.zeros(len(scales), np.int8)),
            ],
            conv.weight.shape,
            f"{conv.name}.weight",
            axis=0,
        )
        return float_conv(g, self._pair(g, x, source), conv, weight.name, relu)

    def join(self, g: GraphWriter, parts: list[Value], name: str) -> Value:
        """Concat in float; the convolution behind it quantizes."""
        return g.concat(parts, 1, name)

    def to_float(self, g: GraphWriter, x: Value) -> Value:
        """Unchanged."""
        return x

    def attend(
        self, g: GraphWriter, name: str, q: Value, keys: Value, values: Value, sink: str
    ) -> Value:
        """With Q and DQ, and laid out so that TensorRT makes one INT8 kernel of it."""
        return attend_fused(g, name, q, keys, values, self._pair, sink)

    def _pair(self, g: GraphWriter, x: Value, source: str) -> Value:
        scale, zero = grid_constants(g, self._grids[source], signed=True)
        stored = g.node("QuantizeLinear", [x, scale, zero], x.shape, f"{x.name}.q")
        return g.node("DequantizeLinear", [stored, scale, zero], x.shape, f"{x.name}.dq")
