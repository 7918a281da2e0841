"""Weights rounded for INT8, and biases that make up for it.

Rounding shifts the mean of every output channel, by the rounding errors times the mean of what
goes in. That shift is known from calibration and is taken back in the bias (Nagel et al.,
Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019, section 4.2,
here with measured means). What is left is the error's deviation, which ``compensation`` keeps
small.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_ser.converters.compensation import compensated
from edge_ser.converters.finer_votes import finer
from edge_ser.converters.forms import Range, RowGrid, quantize_weight, union, unsigned_grid
from edge_ser.converters.weights import AttentionWeights, ConvWeights, StepWeights

__all__ = ["product_inputs", "rounded_weights"]

Array = NDArray[np.float32]
Layer = TypeVar("Layer", ConvWeights, AttentionWeights)
GridOf = Callable[[Array], RowGrid]


def product_inputs(weights: StepWeights) -> dict[str, tuple[str, ...]]:
    """The activations that each layer reads, side by side, by the names of ``quantizable``."""
    inputs: dict[str, tuple[str, ...]] = {}
    source = "mel"
    for conv in (*weights.shallow, *weights.middle, *weights.high):
        inputs[conv.name] = (source,)
        source = conv.name
    shallow, middle, high = (
        stack[-1].name for stack in (weights.shallow, weights.middle, weights.high)
    )
    crossed = [weights.middle_attention.name, weights.high_attention.name]
    inputs[crossed[0]], inputs[crossed[1]] = (middle,), (high,)
    inputs[weights.fuse.name] = (
        shallow, middle, f"{crossed[0]}.out", high, f"{crossed[1]}.out",
    )  # fmt: skip
    return inputs


def rounded_weights(
    weights: StepWeights,
    means: Mapping[str, Array],
    bits: int,
    ranges: Mapping[str, Range] | None = None,
    keep: Collection[str] = (),
    covariances: Mapping[str, NDArray[np.float64]] = MappingProxyType({}),
) -> StepWeights:
    """``weights`` rounded, with biases that make up for it.

    Args:
        means: of every channel of the activations in ``product_inputs``, ``(channels,)``.
        bits: of the rounded weights.
        ranges: of the activations, where scales of the fused parts go into the weights before
            those are rounded (``cpu_step``, which has both attentions on one grid).
        keep: layers that are not rounded.
        covariances: of the inputs of layers whose weights are to make up for each other's
            rounding, see ``compensation.compensated``; each weight of the others is rounded alone.
    """
    inputs = product_inputs(weights)

    def rounded(layer: ConvWeights | AttentionWeights, grid: GridOf) -> tuple[Array, Array, Array]:
        sources = inputs[layer.name]
        mean = np.concatenate([means[name] for name in sources])
        ratio = np.ones(len(mean), np.float32)
        if ranges is not None and len(sources) > 1:
            crossed = union(*(ranges[name] for name in sources if name.endswith(".out")))
            spans = [crossed if name.endswith(".out") else ranges[name] for name in sources]
            scales = np.array([unsigned_grid(span).scale for span in spans], np.float32)
            ratio = np.repeat(scales, [len(means[name]) for name in sources])
        return _rounded(layer, mean, ratio, grid, covariances.get(layer.name))

    def product(layer: Layer) -> Layer:
        if layer.name in keep:
            return layer
        weight, bias, _ = rounded(layer, partial(RowGrid.of, bits=bits))
        return replace(layer, weight=weight, bias=bias)

    def convolution(conv: ConvWeights) -> ConvWeights:
        if ranges is None or conv.name in keep:  # only the step for CPUs has kernels of pairs
            return product(conv)
        weight, bias, scales = rounded(conv, RowGrid.of_pairs)
        return replace(conv, weight=weight, bias=bias, scales=scales)

    fuse = product(weights.fuse)
    if weights.fuse.name not in keep:
        fuse = finer(weights, fuse, product)
    return replace(
        weights,
        shallow=tuple(convolution(conv) for conv in weights.shallow),
        middle=tuple(convolution(conv) for conv in weights.middle),
        high=tuple(convolution(conv) for conv in weights.high),
        middle_attention=product(weights.middle_attention),
        high_attention=product(weights.high_attention),
        fuse=fuse,
    )


def _rounded(
    layer: ConvWeights | AttentionWeights,
    mean: Array,
    ratio: Array,
    grid_of: GridOf,
    covariance: NDArray[np.float64] | None,
) -> tuple[Array, Array, Array]:
    """Weights on their grid, a bias that keeps the mean of each output, and the grid's scales."""
    weight = layer.weight
    c_out, per_group, kernel = weight.shape
    groups = len(mean) // per_group
    scaled = weight
    if groups == 1:
        scaled = (weight * ratio[None, :, None]).astype(np.float32)
    grid = grid_of(scaled)
    if covariance is not None:
        if groups == 1:
            by = np.repeat(ratio.astype(np.float64), kernel)
            covariance = covariance / np.outer(by, by)
        scaled = compensated(scaled, covariance, grid)
    stored, scales = quantize_weight(scaled, 8, grid.scales)
    rounded = stored * scales[:, None, None]
    if groups == 1:
        rounded = rounded / ratio[None, :, None]
    # Each output channel reads the inputs of its group.
    seen = np.repeat(mean.reshape(groups, per_group), c_out // groups, axis=0)
    shift = np.einsum("oik,oi->o", rounded - weight, seen)
    return rounded.astype(np.float32), (layer.bias - shift).astype(np.float32), scales
