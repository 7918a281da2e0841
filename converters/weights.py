"""The student's weights as the deployed step uses them: everything folded that can be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edge_ser.models.layers import CausalConv, CrossAttention, fold_batch_norm
from edge_ser.models.student import Student, StudentConfig

__all__ = ["AttentionWeights", "ConvWeights", "StepWeights", "fold_student"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class ConvWeights:
    """One convolution and its place in the stream.

    Attributes:
        weight: ``(c_out, c_in / groups, kernel)``.
        bias: ``(c_out,)``.
        history: input frames kept from earlier steps.
        before: input value before the stream begins.
        scales: ``(c_out,)`` of weights that are rounded, where their size does not tell them.
    """

    name: str
    weight: Array
    bias: Array
    stride: int
    dilation: int
    groups: int
    history: int
    before: float
    scales: Array | None = None

    @property
    def c_in(self) -> int:
        """Input channels."""
        return int(self.weight.shape[1]) * self.groups


@dataclass(frozen=True)
class AttentionWeights:
    """Projection of both branches to query, key and value in one product.

    Attributes:
        weight: ``(3 * channels, 2 * channels, 1)``; output rows are ordered by head, then
            query, key, value, so that one reshape and one split part them. The query's rows
            read the acoustic half of the input only and carry the attention's scale, the
            others read the semantic half only.
        bias: ``(3 * channels,)``.
    """

    name: str
    weight: Array
    bias: Array
    heads: int
    context: int


@dataclass(frozen=True)
class StepWeights:
    """All constants of the deployed step, in the order of the graph.

    Attributes:
        votes: of the evidence of the depths, 0 where there is none. Its features are the last
            four times as many of ``fuse``: each vote ``z``, each ``-z``, and as many for what
            rounding takes from either, whose weights are zero until ``weight_rounding`` knows it.
    """

    config: StudentConfig
    shallow: tuple[ConvWeights, ...]
    middle: tuple[ConvWeights, ...]
    middle_attention: AttentionWeights
    high: tuple[ConvWeights, ...]
    high_attention: AttentionWeights
    fuse: ConvWeights
    gate: ConvWeights
    classifier: tuple[Array, Array]
    rest: Array
    prior: float
    span_tokens: float
    votes: int = 0


@torch.no_grad()
def fold_student(student: Student) -> StepWeights:
    """Fold input standardisation, batch norms, shortcuts and depth weights into the weights."""
    c = student.config
    stem, *rest = student.shallow
    depths = student.depth_weights()
    fuse = torch.cat(
        [
            weight * layer.weight
            for weight, layer in zip(
                depths, (student.fuse_shallow, student.fuse_middle, student.fuse_high), strict=True
            )
        ],
        dim=1,
    )
    fuse_weight, fuse_bias = fold_batch_norm(fuse, student.fuse_norm)
    gate = student.memory.gate
    return StepWeights(
        config=c,
        shallow=(
            _stem(stem, student),
            *(_conv(f"shallow{i}", layer) for i, layer in enumerate(rest, start=1)),
        ),
        middle=tuple(_conv(f"middle{i}", layer) for i, layer in enumerate(student.middle)),
        middle_attention=_attention("middle_attention", student.middle_attention),
        high=tuple(_conv(f"high{i}", layer) for i, layer in enumerate(student.high)),
        high_attention=_attention("high_attention", student.high_attention),
        fuse=_pointwise("fuse", fuse_weight, fuse_bias),
        gate=_pointwise("gate", gate.weight, gate.bias),
        classifier=(_array(student.classifier.weight[:, :, 0]), _array(student.classifier.bias)),
        rest=_array(student.memory.rest),
        prior=student.memory.prior,
        span_tokens=student.memory.span_tokens,
    )


def _array(value: torch.Tensor | None) -> Array:
    assert value is not None
    return np.ascontiguousarray(value.detach().numpy(), np.float32)


def _pointwise(name: str, weight: torch.Tensor, bias: torch.Tensor | None) -> ConvWeights:
    return ConvWeights(name, _array(weight), _array(bias), 1, 1, 1, 0, 0.0)


def _conv(name: str, layer: nn.Module) -> ConvWeights:
    assert isinstance(layer, CausalConv)
    weight, bias = layer.folded()
    conv = layer.conv
    return ConvWeights(
        name,
        _array(weight),
        _array(bias),
        conv.stride[0],
        conv.dilation[0],
        conv.groups,
        layer.history,
        0.0,
    )


def _stem(layer: nn.Module, student: Student) -> ConvWeights:
    """The first layer takes raw log-mel: the standardisation moves into its weights."""
    plain = _conv("shallow0", layer)
    mean, scale = _array(student.mel_mean), _array(student.mel_scale)
    weight = plain.weight * scale[None, :, None]
    bias = plain.bias - np.einsum("oik,i->o", weight, mean)
    return ConvWeights(
        plain.name, weight, bias, plain.stride, plain.dilation, 1, plain.history, student.silence
    )


def _attention(name: str, layer: CrossAttention) -> AttentionWeights:
    channels = layer.query.in_channels
    per_head = channels // layer.heads
    q_weight, q_bias = _array(layer.query.weight), _array(layer.query.bias)
    kv_weight, kv_bias = _array(layer.key_value.weight), _array(layer.key_value.bias)
    zero = np.zeros((channels, channels, 1), np.float32)
    rows = np.stack(
        [
            np.concatenate([q_weight * layer.scale, zero], axis=1),
            np.concatenate([zero, kv_weight[:channels]], axis=1),
            np.concatenate([zero, kv_weight[channels:]], axis=1),
        ]
    ).reshape(3, layer.heads, per_head, 2 * channels, 1)
    bias = np.stack([q_bias * layer.scale, kv_bias[:channels], kv_bias[channels:]])
    return AttentionWeights(
        name,
        np.ascontiguousarray(rows.swapaxes(0, 1)).reshape(3 * channels, 2 * channels, 1),
        np.ascontiguousarray(bias.reshape(3, layer.heads, per_head).swapaxes(0, 1)).reshape(
            3 * channels
        ),
        layer.heads,
        layer.context,
    )
