"""The step in float with the rounding of chosen layers put in: what each layer's INT8 costs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from edge_ser.converters.attention import attend_by_columns
from edge_ser.converters.forms import (
    FloatForm,
    Range,
    float_conv,
    grid_constants,
    unchanged,
    unsigned_grid,
)
from edge_ser.converters.onnx_writer import GraphWriter, Value
from edge_ser.converters.weights import AttentionWeights, ConvWeights, StepWeights

__all__ = ["SimulatedForm", "layer_names"]


def layer_names(weights: StepWeights) -> tuple[str, ...]:
    """Layers that the INT8 step for CPUs computes in integers, in the order of the graph."""
    return (
        *(conv.name for conv in (*weights.shallow, *weights.middle)),
        weights.middle_attention.name,
        *(conv.name for conv in weights.high),
        weights.high_attention.name,
        weights.fuse.name,
    )


class SimulatedForm(FloatForm):
    """Float arithmetic on the values that the INT8 step for CPUs would have.

    Args:
        ranges: of every activation, by name.
        inputs: layers whose input is rounded to its 8-bit grid.
        weights: layers whose weights are rounded.
        ready: the rounded weights, and the biases that go with them.
    """

    def __init__(
        self,
        ranges: Mapping[str, Range],
        inputs: Collection[str],
        weights: Collection[str],
        ready: StepWeights,
    ) -> None:
        super().__init__()
        self._ranges, self._inputs, self._weights = ranges, inputs, weights
        layers: tuple[ConvWeights | AttentionWeights, ...] = (
            *ready.shallow, *ready.middle, *ready.high, ready.fuse,
            ready.middle_attention, ready.high_attention,
        )  # fmt: skip
        self._ready = {layer.name: (layer.weight, layer.bias) for layer in layers}

    def conv(self, g: GraphWriter, x: Value, conv: ConvWeights, source: str, relu: bool) -> Value:
        """Q, DQ where the layer is chosen, then Conv and ReLU."""
        if conv.name in self._inputs and source != "depths":
            x = self._rounded(g, x, source, conv.name)
        if conv.name in self._weights:
            weight, bias = self._ready[conv.name]
            conv = replace(conv, weight=weight, bias=bias)
        return float_conv(g, x, conv, g.constant(f"{conv.name}.weight", conv.weight), relu)

    def join(self, g: GraphWriter, parts: list[Value], name: str) -> Value:
        """Concat; what is fused keeps the grid of each part."""
        if "fuse" in self._inputs:
            parts = [self._rounded(g, part, part.name, name) for part in parts]
        return g.concat(parts, 1, name)

    def attend(
        self, g: GraphWriter, name: str, q: Value, keys: Value, values: Value, sink: str
    ) -> Value:
        """In float, as in the step for CPUs."""
        return attend_by_columns(g, name, q, keys, values, unchanged)

    def _rounded(self, g: GraphWriter, x: Value, source: str, reader: str) -> Value:
        grid = grid_constants(g, unsigned_grid(self._ranges[source]))
        name = f"{reader}.{source}"
        stored = g.node("QuantizeLinear", [x, *grid], x.shape, f"{name}.q")
        return g.node("DequantizeLinear", [stored, *grid], x.shape, f"{name}.dq")
