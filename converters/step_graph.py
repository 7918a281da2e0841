"""The streaming step as an ONNX graph, the same structure for every numeric form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx

from edge_ser.converters.onnx_writer import GraphWriter, Grid, StateTensor, Value
from edge_ser.converters.weights import AttentionWeights, ConvWeights, StepWeights
from edge_ser.pack import StateSpec

__all__ = ["NumericForm", "StepModel", "build_step", "highest_vote", "state_specs"]


class NumericForm(Protocol):
    """How numbers are stored and multiplied: in float, or in one of the INT8 forms.

    Attributes:
        time_axis: where time lies in the convolutional part: 2 for ``(1, channels, time)``,
            1 for ``(1, time, channels)``. Float values are always ``(1, channels, time)``.
    """

    time_axis: int

    def history_grid(self, source: str) -> Grid | None:
        """Grid in which past values of the activation ``source`` are kept, None for float."""
        ...

    def enter(self, g: GraphWriter, value: Value) -> Value:
        """The float input of the graph as the convolutions take it."""
        ...

    def conv(self, g: GraphWriter, x: Value, conv: ConvWeights, source: str, relu: bool) -> Value:
        """A convolution of ``x``, which holds the activation ``source``."""
        ...

    def join(self, g: GraphWriter, parts: list[Value], name: str) -> Value:
        """Channels of several activations side by side."""
        ...

    def to_float(self, g: GraphWriter, x: Value) -> Value:
        """``x`` in floating point."""
        ...

    def attend(
        self, g: GraphWriter, name: str, q: Value, keys: Value, values: Value, sink: str
    ) -> Value:
        """The products of the attention ``name``, float in and out.

        Args:
            sink: activation that takes the result.
        """
        ...


@dataclass(frozen=True)
class StepModel:
    """A model of one streaming step.

    Attributes:
        onnx: inputs ``mel`` ``(1, n_mels, step_frames) float32`` and the states, outputs
            ``logits`` ``(1, labels) float32`` and the states' successors.
        states: what is carried from step to step.
    """

    onnx: onnx.ModelProto
    states: tuple[StateTensor, ...]


def build_step(weights: StepWeights, form: NumericForm) -> StepModel:
    """Write the step of ``weights`` in the numeric form ``form``.

    Activations are named after the layer that makes them (``shallow1``, ``middle_attention``,
    ``fuse``), which is also the key of their range in a calibration.
    """
    g, c = GraphWriter(), weights.config
    x = form.enter(g, g.input("mel", (1, c.n_mels, c.step_frames)))
    shallow = _stack(g, form, x, "mel", weights.shallow)
    middle = _stack(g, form, shallow, weights.shallow[-1].name, weights.middle)
    middle_name, high_name = weights.middle[-1].name, weights.high[-1].name
    middle_cross = _attention(g, form, middle, middle_name, weights.middle_attention)
    high = _stack(g, form, middle, middle_name, weights.high)
    high_cross = _attention(g, form, high, high_name, weights.high_attention)
    joined = form.join(g, [shallow, middle, middle_cross, high, high_cross], "depths")
    fused = form.to_float(g, form.conv(g, joined, weights.fuse, "depths", relu=True))
    pooled = _memory(g, fused, weights)
    votes = _dense(g, pooled, weights.classifier, "classifier")
    g.output(highest_vote(g, votes, c.domains, axis=1), "logits")
    return StepModel(g.model("edge-ser step"), tuple(g.states))


def _stack(
    g: GraphWriter, form: NumericForm, x: Value, source: str, convs: tuple[ConvWeights, ...]
) -> Value:
    axis = form.time_axis
    for conv in convs:
        shape = (1, conv.c_in, conv.history) if axis == 2 else (1, conv.history, conv.c_in)
        past = g.state(f"{conv.name}.past", shape, conv.before, form.history_grid(source))
        joined = g.concat([past, x], axis, f"{conv.name}.joined")
        g.keep(past, joined, axis)
        x = form.conv(g, joined, conv, source, relu=True)
        source = conv.name
    return x


def _attention(
    g: GraphWriter, form: NumericForm, x: Value, source: str, w: AttentionWeights
) -> Value:
    """Queries of the acoustic half over past and present keys of the semantic half."""
    channels = w.weight.shape[0] // 3
    size = channels // w.heads
    projection = ConvWeights(w.name, w.weight, w.bias, 1, 1, 1, 0, 0.0)
    qkv = form.to_float(g, form.conv(g, x, projection, source, relu=False))
    tokens = qkv.shape[2]
    qkv = g.reshape(qkv, (w.heads, 3 * size, tokens), f"{w.name}.heads")
    q, k, v = g.split(
        qkv, [size] * 3, 1, [f"{w.name}.query", f"{w.name}.new_key", f"{w.name}.new_value"]
    )
    kept = {}
    for role, new in (("key", k), ("value", v)):
        past = g.state(f"{w.name}.{role}.past", (w.heads, size, w.context), 0.0, None)
        kept[role] = g.concat([past, new], 2, f"{w.name}.{role}")
        g.keep(past, kept[role], 2)
    mixed = form.attend(g, w.name, q, kept["key"], kept["value"], sink="depths")
    return g.reshape(mixed, (1, channels, tokens), f"{w.name}.out")


def _memory(g: GraphWriter, x: Value, weights: StepWeights) -> Value:
    """Gated running mean, ``(1, fused)``; always in floating point."""
    _, channels, tokens = x.shape
    rows = channels + 1
    gate = g.node(
        "Conv",
        [
            x,
            g.constant("gate.weight", weights.gate.weight),
            g.constant("gate.bias", weights.gate.bias),
        ],
        (1, 1, tokens),
        "gate.logit",
    )
    gate = g.node("Sigmoid", [gate], gate.shape, "gate")
    one = g.constant("memory.one", np.ones((1, 1, tokens), np.float32))
    seen = g.concat([x, Value(one, (1, 1, tokens))], 1, "memory.seen")
    # Weighted sum over tokens, not a matrix product: Turing GPUs have none in FP32.
    weighted = g.node("Mul", [seen, gate], seen.shape, "memory.weighted")
    axes = g.constant("memory.axes", np.array([2], np.int64))
    gain = g.node("ReduceSum", [weighted, axes], (1, rows, 1), "memory.gain", keepdims=1)
    opened = g.node("ReduceSum", [gate, axes], (1, 1, 1), "memory.opened", keepdims=1)
    rate = g.constant("memory.rate", np.array(-1.0 / weights.span_tokens, np.float32))
    fade = g.node("Mul", [opened, rate], (1, 1, 1), "memory.fade")
    keep = g.node("Exp", [fade], (1, 1, 1), "memory.keep")
    past = g.state("memory.past", (1, rows, 1), 0.0, None)
    faded = g.node("Mul", [past, keep], past.shape, "memory.faded")
    memory = g.node("Add", [faded, gain], past.shape, "memory.past.next")
    g.replace_state(past, memory.name)
    rest = np.append(weights.rest, np.float32(1.0))[None, :, None] * np.float32(weights.prior)
    whole = g.node("Add", [memory, g.constant("memory.rest", rest)], past.shape, "memory.whole")
    sums, weight = g.split(whole, [channels, 1], 1, ["memory.sums", "memory.heard"])
    mean = g.node("Div", [sums, weight], sums.shape, "memory.mean")
    return g.reshape(mean, (1, channels), "pooled")


def _dense(g: GraphWriter, x: Value, layer: tuple[np.ndarray, np.ndarray], name: str) -> Value:
    weight, bias = layer
    inputs: list[Value | str] = [
        x,
        g.constant(f"{name}.weight", weight),
        g.constant(f"{name}.bias", bias),
    ]
    return g.node("Gemm", inputs, (1, len(bias)), name, transB=1)


def highest_vote(g: GraphWriter, votes: Value, domains: int, axis: int) -> Value:
    """Of the votes for each domain side by side along ``axis``, the highest for each label."""
    if domains == 1:
        return votes
    labels = votes.shape[axis] // domains
    names = [f"votes.{domain}" for domain in range(domains)]
    parts = g.split(votes, [labels] * domains, axis, names)
    return g.node("Max", list(parts), parts[0].shape, "votes.highest")


def state_specs(model: StepModel) -> tuple[StateSpec, ...]:
    """The states of ``model`` as a pack describes them."""
    return tuple(
        StateSpec(
            state.name,
            state.next_name,
            state.shape,
            state.dtype,
            state.before,
            state.ahead,
            state.time_axis,
        )
        for state in model.states
    )
