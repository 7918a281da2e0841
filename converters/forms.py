"""The float form of the step, and what the forms share; INT8: cpu_step and tensorrt_forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.converters.attention import attend_by_columns
from edge_ser.converters.onnx_writer import GraphWriter, Grid, Value
from edge_ser.converters.weights import ConvWeights, StepWeights

__all__ = [
    "FloatForm",
    "Range",
    "quantizable",
]


MOST_OF_A_PAIR = 128
"""Steps of two weights together whose products with 255 still fit in 16 bits: 255 * 128 < 2**15."""
_LEAST_OF_OTHERS = 16


@dataclass(frozen=True)
class Range:
    """What an activation spans in real units."""

    low: float
    high: float


def quantizable(weights: StepWeights) -> tuple[str, ...]:
    """Names of the activations whose ranges the INT8 forms need."""
    attentions = (weights.middle_attention.name, weights.high_attention.name)
    return (
        "mel",
        *(conv.name for conv in (*weights.shallow, *weights.middle, *weights.high)),
        *attentions,
        *(
            f"{name}.{part}"
            for name in attentions
            for part in ("query", "key", "value", "share", "out")
        ),
        "depths",
        weights.fuse.name,
    )


class FloatForm:
    """Everything in float32, the reference of all other forms.

    Args:
        half_weights: store convolution weights as float16, computed in float32 all the same;
            half the file for a rounding far below that of INT8.
    """

    time_axis = 2

    def __init__(self, half_weights: bool = False) -> None:
        self._half_weights = half_weights

    def history_grid(self, source: str) -> Grid | None:
        """Float."""
        return None

    def enter(self, g: GraphWriter, value: Value) -> Value:
        """Unchanged."""
        return value

    def conv(self, g: GraphWriter, x: Value, conv: ConvWeights, source: str, relu: bool) -> Value:
        """Conv and ReLU."""
        weight = f"{conv.name}.weight"
        if self._half_weights:
            half = g.constant(f"{weight}.half", conv.weight.astype(np.float16))
            weight = g.node("Cast", [half], conv.weight.shape, weight, to=1).name
        else:
            g.constant(weight, conv.weight)
        return float_conv(g, x, conv, weight, relu)

    def join(self, g: GraphWriter, parts: list[Value], name: str) -> Value:
        """Concat."""
        return g.concat(parts, 1, name)

    def to_float(self, g: GraphWriter, x: Value) -> Value:
        """Unchanged."""
        return x

    def attend(
        self, g: GraphWriter, name: str, q: Value, keys: Value, values: Value, sink: str
    ) -> Value:
        """In float."""
        return attend_by_columns(g, name, q, keys, values, unchanged)


def unchanged(g: GraphWriter, x: Value, source: str) -> Value:
    """``x``: products in float need nothing in front."""
    return x


def float_conv(g: GraphWriter, x: Value, conv: ConvWeights, weight: str, relu: bool) -> Value:
    """Conv with a float bias; its output carries the name of the layer."""
    bias = g.constant(f"{conv.name}.bias", conv.bias)
    shape = (1, len(conv.weight), conv_length(x.shape[2], conv))
    name = f"{conv.name}.sum" if relu else conv.name
    y = g.node("Conv", [x, weight, bias], shape, name, **conv_attributes(conv))
    return g.node("Relu", [y], shape, conv.name) if relu else y


def conv_attributes(conv: ConvWeights) -> dict[str, Any]:
    """Attributes of an ONNX convolution without padding."""
    return {
        "strides": [conv.stride],
        "dilations": [conv.dilation],
        "group": conv.groups,
        "kernel_shape": [conv.weight.shape[2]],
    }


def conv_length(time: int, conv: ConvWeights) -> int:
    """Frames that the convolution makes of ``time`` frames."""
    reach = (int(conv.weight.shape[2]) - 1) * conv.dilation + 1
    return (time - reach) // conv.stride + 1


def unsigned_grid(span: Range) -> Grid:
    """The UINT8 grid over ``span`` that holds zero exactly."""
    low, high = min(span.low, 0.0), max(span.high, 0.0)
    scale = max(high - low, 1e-6) / 255.0
    return Grid(scale, round(-low / scale))


def union(*spans: Range) -> Range:
    """What holds all of ``spans``."""
    return Range(min(span.low for span in spans), max(span.high for span in spans))


def signed_grid(span: Range) -> Grid:
    """The symmetric INT8 grid that holds ``span``."""
    return Grid(max(abs(span.low), abs(span.high), 1e-6) / 127.0, 0)


@dataclass(frozen=True)
class RowGrid:
    """The grid of each output's weights, symmetric.

    Attributes:
        scales: ``(c_out,)``, of one step.
        peak: ``(c_out,)``, steps of the largest weight.
        others: ``(c_out,)``, most steps of any other.
    """

    scales: NDArray[np.float32]
    peak: NDArray[np.int64]
    others: NDArray[np.int64]

    @classmethod
    def of(cls, weight: NDArray[np.float32], bits: int) -> RowGrid:
        """With ``bits`` for each weight."""
        largest = np.full(len(weight), 2 ** (bits - 1) - 1)
        peak = np.abs(weight.reshape(len(weight), -1)).max(axis=1)
        return cls((np.maximum(peak, 1e-8) / largest).astype(np.float32), largest, largest)

    @classmethod
    def of_pairs(cls, weight: NDArray[np.float32]) -> RowGrid:
        """With 8 bits, but no two weights of an output above ``MOST_OF_A_PAIR`` together.

        A shortcut that is folded into a convolution makes one weight of each output several times
        the others. Kernels of x86 processors without VNNI add two products of 8 bits in 16, which
        two large weights would overflow, but one large weight beside small ones does not. So such
        an output has a grid that is finer than one of 7 bits, which keeps every weight small.
        """
        size = np.sort(np.abs(weight.reshape(len(weight), -1)), axis=1)
        first = np.maximum(size[:, -1], 1e-8)
        second = size[:, -2] if size.shape[1] > 1 else np.zeros_like(first)
        # Rounding together needs some room for the others to grow into.
        shared = np.floor(MOST_OF_A_PAIR * first / (first + second))
        peak = np.clip(shared, MOST_OF_A_PAIR // 2, MOST_OF_A_PAIR - _LEAST_OF_OTHERS)
        peak = peak.astype(np.int64)
        return cls((first / peak).astype(np.float32), peak, MOST_OF_A_PAIR - peak)


def quantize_weight(
    weight: NDArray[np.float32], bits: int, scales: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric per output channel: stored ``int8`` weights and ``(c_out,)`` scales.

    Args:
        bits: of a weight.
        scales: of weights that are on a grid of their own already.
    """
    largest = 127 if scales is not None else 2 ** (bits - 1) - 1
    scales = RowGrid.of(weight, bits).scales if scales is None else scales
    stored = np.round(weight / scales[:, None, None])
    return np.clip(stored, -largest, largest).astype(np.int8), scales


def grid_constants(g: GraphWriter, grid: Grid, signed: bool = False) -> tuple[str, str]:
    """Names of the scale and the zero point of ``grid``."""
    dtype = np.int8 if signed else np.uint8
    scale = np.float32(grid.scale)
    key = f"grid_{scale.view(np.uint32):08x}"
    return (
        g.constant(f"{key}.scale", np.array(scale)),
        g.constant(f"{key}.{'s' if signed else 'u'}{grid.zero}", np.array(grid.zero, dtype)),
    )
