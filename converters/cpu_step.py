"""The streaming step for ONNX Runtime's CPU kernels: INT8, few nodes, any number of streams.

At this size a node costs about as much as its arithmetic, so this graph is written for few
nodes, not for likeness to the model:

- no float between the convolutions, the channels of one moment side by side;
- a layer's past is not cut out of what it was joined to: the joined tensor itself is the
  output, and the runtime goes on from its last part, in place;
- what is fused is joined as it is. Scales and zero points of its parts are moved into the
  weights and the bias of the product, which gives floating point at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.converters.forms import (
    Range,
    conv_attributes,
    conv_length,
    float_conv,
    grid_constants,
    quantize_weight,
    union,
    unsigned_grid,
)
from edge_ser.converters.onnx_writer import GraphWriter, Grid, Value
from edge_ser.converters.step_graph import StepModel, highest_vote
from edge_ser.converters.weights import AttentionWeights, ConvWeights, StepWeights

__all__ = ["WEIGHT_BITS", "build_cpu_step"]

_MICROSOFT = "com.microsoft"
WEIGHT_BITS = 7
"""Of the 8 bits of a weight: kernels of x86 processors without VNNI add two products in 16
bits, which 8-bit weights can overflow. Those of convolutions have up to 8, see
``RowGrid.of_pairs``."""


def build_cpu_step(
    weights: StepWeights, ranges: Mapping[str, Range], keep: Collection[str] = ()
) -> StepModel:
    """Write the step of ``weights``.

    Its first axis is the number of streams, left open; sessions for one stream fix it.

    Args:
        ranges: of the activations that ``forms.quantizable`` names.
        keep: layers that multiply in float, with weights that are not rounded. What goes in and
            out of them stays on its 8-bit grid, but for the features of the first layer.
    """
    return _CpuStep(weights, ranges, frozenset(keep)).model()


class _CpuStep:
    def __init__(
        self, weights: StepWeights, ranges: Mapping[str, Range], keep: frozenset[str]
    ) -> None:
        self._weights = weights
        self._ranges = ranges
        self._keep = keep
        self._grids: dict[str, Grid | None] = {
            name: unsigned_grid(span) for name, span in ranges.items()
        }
        if weights.shallow[0].name in keep:
            self._grids["mel"] = None
        self._g = GraphWriter(batched=True)

    def model(self) -> StepModel:
        g, w = self._g, self._weights
        c = w.config
        mel = g.input("mel", (1, c.n_mels, c.step_frames))
        if self._grids["mel"] is not None:
            mel = self._quantize(mel, self._ranges["mel"])
        x = g.node(
            "Transpose", [mel], (1, c.step_frames, c.n_mels), "mel.turned", perm=[0, 2, 1],
            grid=mel.grid,
        )  # fmt: skip
        shallow = self._stack(x, "mel", w.shallow)
        middle = self._stack(shallow, w.shallow[-1].name, w.middle)
        high = self._stack(middle, w.middle[-1].name, w.high)
        crossed = self._attentions([(middle, w.middle_attention), (high, w.high_attention)])
        fused = self._product([shallow, middle, high, crossed], _fusion(w))
        fused = g.node("Relu", [fused], fused.shape, f"{w.fuse.name}.relu")
        g.output(self._readout(fused))
        return StepModel(g.model("edge-ser step"), tuple(g.states))

    def _stack(self, x: Value, source: str, convs: tuple[ConvWeights, ...]) -> Value:
        for conv in convs:
            x = self._conv(self._joined(x, source, conv), conv)
            source = conv.name
        return x

    def _joined(self, x: Value, source: str, conv: ConvWeights) -> Value:
        """``x`` behind what the layer still needs of the past."""
        g, grid = self._g, self._grids[source]
        past = g.state(f"{conv.name}.past", (1, conv.history, conv.c_in), conv.before, grid)
        joined = g.concat([past, x], 1, f"{past.name}.next")
        g.keep_joined(past, joined, 1)
        return joined

    def _conv(self, x: Value, conv: ConvWeights) -> Value:
        """QLinearConv; the ReLU is the lower end of the output's grid."""
        if conv.name in self._keep:
            return self._float_conv(x, conv)
        g, out = self._g, self._grids[conv.name]
        assert x.grid is not None
        assert out is not None
        stored, scales = quantize_weight(conv.weight, WEIGHT_BITS, conv.scales)
        bias = np.clip(np.round(conv.bias / (x.grid.scale * scales)), -(2**31), 2**31 - 1)
        inputs: list[Value | str] = [
            x,
            *grid_constants(g, x.grid),
            g.constant(f"{conv.name}.weight", stored),
            g.constant(f"{conv.name}.weight.scale", scales),
            g.constant(f"{conv.name}.weight.zero", np.zeros(len(scales), np.int8)),
            *grid_constants(g, out),
            g.constant(f"{conv.name}.bias", bias.astype(np.int32)),
        ]
        shape = (1, conv_length(x.shape[1], conv), len(conv.weight))
        return g.node(
            "QLinearConv",
            inputs,
            shape,
            conv.name,
            grid=out,
            domain=_MICROSOFT,
            channels_last=1,
            **conv_attributes(conv),
        )

    def _float_conv(self, x: Value, conv: ConvWeights) -> Value:
        """The same in float, which ONNX Runtime has for channels first only."""
        g = self._g
        _, time, channels = x.shape
        turned = g.node(
            "Transpose",
            [self._real(x, conv.name)],
            (1, channels, time),
            f"{conv.name}.turned",
            perm=[0, 2, 1],
        )
        y = float_conv(g, turned, conv, g.constant(f"{conv.name}.weight", conv.weight), relu=True)
        back = (1, y.shape[2], y.shape[1])
        y = g.node("Transpose", [y], back, f"{conv.name}.back", perm=[0, 2, 1])
        return self._quantize(y, self._ranges[conv.name])

    def _real(self, x: Value, reader: str) -> Value:
        """``x`` in float, for the layer ``reader``."""
        if x.grid is None:
            return x
        inputs: list[Value | str] = [x, *grid_constants(self._g, x.grid)]
        return self._g.node("DequantizeLinear", inputs, x.shape, f"{reader}.{x.name}")

    def _product(self, parts: list[Value], layer: ConvWeights) -> Value:
        """Floating-point outputs of a pointwise ``layer`` over ``parts`` side by side.

        ``sum(w * scale * (stored - zero))`` is computed as one integer product of the stored
        values with ``w * scale``, and a bias that holds the zero points.
        """
        g = self._g
        if layer.name in self._keep:
            return self._float_product(parts, layer)
        channels = [part.shape[2] for part in parts]
        grids = [part.grid for part in parts]
        assert all(grid is not None for grid in grids)
        scale = np.repeat([grid.scale for grid in grids if grid], channels)
        zero = np.repeat([grid.zero for grid in grids if grid], channels)
        largest = float(scale.max())
        stored, scales = quantize_weight(
            (layer.weight[:, :, 0] * (scale / largest)).astype(np.float32)[:, :, None], WEIGHT_BITS
        )
        shift = (stored[:, :, 0].astype(np.float64) @ zero) * scales * largest
        x = parts[0]
        if len(parts) > 1:
            # Each part has its own grid, so the whole has none.
            x = g.concat(parts, 2, f"{layer.name}.parts")
        inputs: list[Value | str] = [
            x,
            g.constant(f"{layer.name}.weight", np.ascontiguousarray(stored[:, :, 0].T)),
            g.constant(f"{layer.name}.scale", np.array(largest, np.float32)),
            g.constant(f"{layer.name}.weight.scale", scales),
            "",
            "",
            g.constant(f"{layer.name}.bias", (layer.bias - shift).astype(np.float32)),
        ]
        shape = (1, x.shape[1], len(layer.weight))
        return g.node("MatMulIntegerToFloat", inputs, shape, layer.name, domain=_MICROSOFT)

    def _float_product(self, parts: list[Value], layer: ConvWeights) -> Value:
        """The same with the values of ``parts``."""
        g = self._g
        real = [self._real(part, layer.name) for part in parts]
        x = real[0] if len(real) == 1 else g.concat(real, 2, f"{layer.name}.parts")
        shape = (1, x.shape[1], len(layer.weight))
        matrix = g.constant(f"{layer.name}.weight", np.ascontiguousarray(layer.weight[:, :, 0].T))
        y = g.node("MatMul", [x, matrix], shape, f"{layer.name}.sum")
        return g.node("Add", [y, g.constant(f"{layer.name}.bias", layer.bias)], shape, layer.name)

    def _attentions(self, layers: list[tuple[Value, AttentionWeights]]) -> Value:
        """All cross-attentions of the step at once, their results side by side.

        Queries, keys and values are ``(tokens, streams, layers, heads, size)``: with time
        first, the products read the past where it lies, whatever the number of streams.
        """
        g, (x, w) = self._g, layers[0]
        names = [layer.name for _, layer in layers]
        heads, context, size = w.heads, w.context, w.weight.shape[0] // 3 // w.heads
        depth, tokens, name = len(layers), x.shape[1], "attention"
        inner = (depth, heads, size)
        projected = [part for x, w in layers for part in self._projected(x, w)]
        rows = g.concat(projected, 2, f"{name}.projected")
        rows = g.reshape(rows, (1, tokens, depth, 3 * heads, size), f"{name}.heads")
        first = (tokens, 1, depth, 3 * heads, size)
        rows = g.node("Transpose", [rows], first, f"{name}.rows", perm=[1, 0, 2, 3, 4])
        q, *new = g.split(
            rows, [heads] * 3, 3, [f"{name}.query", f"{name}.new_key", f"{name}.new_value"]
        )
        keys, values = (
            self._remembered(value, f"{name}.{role}", (context, 1, *inner))
            for role, value in zip(("key", "value"), new, strict=True)
        )
        seen = (1, depth, heads, tokens, context + tokens)
        turned: dict[str, Any] = {"transBatchA": 1, "transBatchB": 1}
        scores = g.node(
            "FusedMatMul", [q, keys], seen, f"{name}.scores", domain=_MICROSOFT, transB=1, **turned
        )
        share = g.node("Softmax", [scores], seen, f"{name}.share", axis=-1)
        mixed = g.node(
            "FusedMatMul",
            [share, values],
            (1, depth, heads, tokens, size),
            f"{name}.mixed",
            domain=_MICROSOFT,
            transBatchB=1,
        )
        mixed = g.node(
            "Transpose", [mixed], (1, tokens, *inner), f"{name}.turned", perm=[0, 3, 1, 2, 4]
        )
        mixed = g.reshape(mixed, (1, tokens, depth * heads * size), f"{name}.out")
        return self._quantize(mixed, union(*(self._ranges[f"{name}.out"] for name in names)))

    def _projected(self, x: Value, w: AttentionWeights) -> list[Value]:
        """Queries of the acoustic half of ``x``, keys and values of its semantic half.

        One product for both would multiply as many zeros as weights.
        """
        weight, bias = _by_role(w)
        c = w.weight.shape[0] // 3
        halves = self._g.split(x, [c, c], 2, [f"{w.name}.acoustic", f"{w.name}.semantic"])
        product = self._float_product if w.name in self._keep else self._product
        projected = []
        for half, role, part in zip(
            halves, ("query", "key_value"), (slice(c), slice(c, None)), strict=True
        ):
            # Rows and columns lie alike: both begin with what belongs to the acoustic branch.
            layer = ConvWeights(f"{w.name}.{role}", weight[part, part], bias[part], 1, 1, 1, 0, 0.0)
            projected.append(product([half], layer))
        return projected

    def _remembered(self, new: Value, name: str, shape: tuple[int, ...]) -> Value:
        """``new`` behind the past, both with time first."""
        past = self._g.state(f"{name}.past", shape, 0.0, None, streams_axis=1)
        joined = self._g.concat([past, new], 0, f"{past.name}.next")
        self._g.keep_joined(past, joined, 0)
        return joined

    def _readout(self, x: Value) -> Value:
        """Logits ``(1, labels)`` of all that was heard.

        The classifier is linear and so is the mean in front of it, so the memory keeps a few
        votes instead of all features: ``mean(W x + b) = W mean(x) + b``.

        Args:
            x: fused features and a one, ``(1, tokens, fused + 1)``.
        """
        g, w = self._g, self._weights
        weight, bias = w.classifier
        tokens, rows = x.shape[1], len(bias)
        gate_weight = np.append(w.gate.weight[0, :, 0], w.gate.bias)[:, None]
        logit = g.node(
            "MatMul", [x, g.constant("gate.weight", gate_weight)], (1, tokens, 1), "gate.logit"
        )
        gate = g.node("Sigmoid", [logit], logit.shape, "gate")
        ballot = np.zeros((x.shape[2], rows + 1), np.float32)
        ballot[:-1, :rows], ballot[-1, :rows], ballot[-1, rows] = weight.T, bias, 1.0
        votes = g.node("MatMul", [x, g.constant("ballot", ballot)], (1, tokens, rows + 1), "votes")
        past = g.state("memory.past", (1, 1, rows + 1), 0.0, None)
        gain = g.node(
            "FusedMatMul", [gate, votes], past.shape, "memory.gain", domain=_MICROSOFT, transA=1
        )
        rate = np.full((1, tokens), -1.0 / w.span_tokens, np.float32)
        fade = g.node("MatMul", [g.constant("memory.rate", rate), gate], (1, 1, 1), "memory.fade")
        keep = g.node("Exp", [fade], (1, 1, 1), "memory.keep")
        faded = g.node("Mul", [past, keep], past.shape, "memory.faded")
        memory = g.node("Add", [faded, gain], past.shape, f"{past.name}.next")
        g.replace_state(past, memory.name)
        rest = np.append(w.rest @ weight.T + bias, 1.0).astype(np.float32) * np.float32(w.prior)
        whole = g.node("Add", [memory, g.constant("memory.rest", rest)], past.shape, "memory.whole")
        sums, heard = g.split(whole, [rows, 1], 2, ["memory.sums", "memory.heard"])
        mean = g.node("Div", [sums, heard], sums.shape, "memory.mean")
        best = highest_vote(g, mean, w.config.domains, axis=2)
        return g.reshape(best, (1, len(w.config.labels)), "logits")

    def _quantize(self, x: Value, span: Range) -> Value:
        g, grid = self._g, unsigned_grid(span)
        inputs: list[Value | str] = [x, *grid_constants(g, grid)]
        return g.node("QuantizeLinear", inputs, x.shape, f"{x.name}.stored", grid=grid)


def _by_role(w: AttentionWeights) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight and bias with rows ordered by query, key and value, then by head."""
    rows, c_in, kernel = w.weight.shape
    size = rows // 3 // w.heads
    weight = w.weight.reshape(w.heads, 3, size, c_in, kernel).swapaxes(0, 1)
    bias = w.bias.reshape(w.heads, 3, size).swapaxes(0, 1)
    return (
        np.ascontiguousarray(weight).reshape(rows, c_in, kernel),
        np.ascontiguousarray(bias).reshape(rows),
    )


def _fusion(weights: StepWeights) -> ConvWeights:
    """The fusion with its inputs ordered shallow, middle, high, then both attentions.

    One more output is always one, for the biases and the count of what comes behind.
    """
    layer = weights.fuse
    attended = weights.middle_attention.weight.shape[0] // 3
    trunk = weights.middle[-1].weight.shape[0]
    sizes = [weights.shallow[-1].weight.shape[0], trunk, attended, trunk, attended]
    shallow, middle, middle_cross, high, high_cross = np.split(
        layer.weight, np.cumsum(sizes)[:-1], axis=1
    )
    ordered = [shallow, middle, high, middle_cross, high_cross]
    weight = np.concatenate(ordered, axis=1)
    return replace(
        layer,
        weight=np.concatenate([weight, np.zeros_like(weight[:1])]),
        bias=np.append(layer.bias, np.float32(1.0)),
    )
