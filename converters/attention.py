"""The products of the cross-attention: one layout for CPUs, one that TensorRT fuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_ser.converters.onnx_writer import GraphWriter, Value
from edge_ser.converters.weights import AttentionWeights, StepWeights

__all__ = ["attend_by_columns", "attend_fused", "pad_heads"]

Pair = Callable[[GraphWriter, Value, str], Value]
_FUSED_HEAD_SIZES = (16, 32, 64, 128)
"""Sizes of a head for which TensorRT has fused INT8 attention (24 and 48 fall apart into
separate products, seen in the layer lists of TensorRT-RTX 1.7)."""


def attend_by_columns(
    g: GraphWriter, name: str, q: Value, keys: Value, values: Value, pair: Pair
) -> Value:
    """``(heads, size, tokens)`` mixed values, with the smaller of the two possible transposes.

    Args:
        q: ``(heads, size, tokens)``.
        keys: ``(heads, size, context + tokens)``.
        values: same.
        pair: puts what the form wants in front of a product.
    """
    heads, size, tokens = q.shape
    whole = keys.shape[2]
    keys = pair(g, keys, f"{name}.key")
    values = pair(g, values, f"{name}.value")
    q = pair(g, q, f"{name}.query")
    q = g.node("Transpose", [q], (heads, tokens, size), f"{name}.rows", perm=[0, 2, 1])
    scores = g.node("MatMul", [q, keys], (heads, tokens, whole), f"{name}.scores")
    share = g.node("Softmax", [scores], scores.shape, f"{name}.share", axis=-1)
    share = pair(g, share, f"{name}.share")
    columns = (heads, whole, tokens)
    share = g.node("Transpose", [share], columns, f"{name}.columns", perm=[0, 2, 1])
    return g.node("MatMul", [values, share], (heads, size, tokens), f"{name}.mixed")


def attend_fused(
    g: GraphWriter, name: str, q: Value, keys: Value, values: Value, pair: Pair, sink: str
) -> Value:
    """The same in the one layout that TensorRT makes a single INT8 kernel of.

    It takes four axes, ``share @ values`` in this order, and a Q/DQ pair on the way out. That
    last pair has the grid of ``sink``, where the result is quantized anyway, so that it
    rounds to what it would be rounded to later and costs no accuracy.

    Args:
        sink: activation that takes the result.
    """
    heads, size, tokens = q.shape
    whole = keys.shape[2]
    q, keys, values = (
        g.reshape(x, (1, *x.shape), f"{name}.{role}.batch")
        for role, x in (("query", q), ("key", keys), ("value", values))
    )
    keys = pair(g, keys, f"{name}.key")
    values = pair(g, values, f"{name}.value")
    q = pair(g, q, f"{name}.query")
    turn = [0, 1, 3, 2]
    q = g.node("Transpose", [q], (1, heads, tokens, size), f"{name}.rows", perm=turn)
    scores = g.node("MatMul", [q, keys], (1, heads, tokens, whole), f"{name}.scores")
    share = g.node("Softmax", [scores], scores.shape, f"{name}.share", axis=-1)
    share = pair(g, share, f"{name}.share")
    values = g.node("Transpose", [values], (1, heads, whole, size), f"{name}.sources", perm=turn)
    mixed = g.node("MatMul", [share, values], (1, heads, tokens, size), f"{name}.mixed")
    mixed = pair(g, mixed, sink)
    mixed = g.node("Transpose", [mixed], (1, heads, size, tokens), f"{name}.turned", perm=turn)
    return g.reshape(mixed, (heads, size, tokens), f"{name}.flat")


def pad_heads(weights: StepWeights) -> StepWeights:
    """The same step with heads of a size that TensorRT can fuse, filled up with zeros.

    The added rows of query, key and value are zero, and so are the columns of the fusion
    that read them: every number that was there before stays the same.
    """
    size = weights.middle_attention.weight.shape[0] // 3 // weights.middle_attention.heads
    fitting = [wide for wide in _FUSED_HEAD_SIZES if wide >= size]
    if not fitting or fitting[0] == size:
        return weights
    wide = fitting[0]
    trunk = weights.middle[-1].weight.shape[0]
    shallow = weights.shallow[-1].weight.shape[0]
    heads = weights.middle_attention.heads
    bounds = np.cumsum([shallow, trunk, heads * size, trunk])
    parts = np.split(weights.fuse.weight, bounds, axis=1)
    for index in (2, 4):  # the two attentions; the others are convolutions
        c_out, _, kernel = parts[index].shape
        by_head = parts[index].reshape(c_out, heads, size, kernel)
        parts[index] = _widen(by_head, 2, wide).reshape(c_out, heads * wide, kernel)
    fused = np.concatenate(parts, axis=1)
    return replace(
        weights,
        middle_attention=_wider(weights.middle_attention, wide),
        high_attention=_wider(weights.high_attention, wide),
        fuse=replace(weights.fuse, weight=fused),
    )


def _wider(layer: AttentionWeights, wide: int) -> AttentionWeights:
    rows, c_in, kernel = layer.weight.shape
    size = rows // 3 // layer.heads
    weight = layer.weight.reshape(layer.heads, 3, size, c_in, kernel)
    bias = layer.bias.reshape(layer.heads, 3, size)
    return replace(
        layer,
        weight=_widen(weight, 2, wide).reshape(layer.heads * 3 * wide, c_in, kernel),
        bias=_widen(bias, 2, wide).reshape(-1),
    )


def _widen(array: NDArray[np.float32], axis: int, size: int) -> NDArray[np.float32]:
    extra = [(0, 0)] * array.ndim
    extra[axis] = (0, size - array.shape[axis])
    return np.ascontiguousarray(np.pad(array, extra))
