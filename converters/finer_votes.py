"""Votes of the evidence of the depths in two roundings: what one takes, the other gives back.

A linear discriminant weighs features that vary together against each other, so its weights are
large beside what is left of them, and so is what rounding does to it: of the bundled student nine
tenths of INT8's error came from the weights of 24 of 152 features of the fusion. Being linear,
each vote can be a sum of two products. The second has the weights that rounding took from the
first, on a grid of their own that is as much finer: 7 bits become about 13.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_ser.converters.weights import ConvWeights, StepWeights

__all__ = ["finer", "with_room_for_finer_votes"]


def with_room_for_finer_votes(weights: StepWeights) -> StepWeights:
    """``weights`` with features for what rounding will take from each vote; zero until then.

    Weights without evidence of the depths come back as they are. It is known by its features,
    the last of the fusion: ``relu(z)`` and ``relu(-z)`` of each vote, which only the classifier
    reads, the one less the other.
    """
    (weight, bias), fuse = weights.classifier, weights.fuse
    votes, width = len(bias), len(fuse.bias)
    if weights.votes or width <= 2 * votes:
        return weights
    plus, minus = slice(width - 2 * votes, width - votes), slice(width - votes, width)
    opposite = (
        np.allclose(fuse.weight[plus], -fuse.weight[minus])
        and np.allclose(fuse.bias[plus], -fuse.bias[minus])
        and np.allclose(weight[:, plus], -weight[:, minus])
    )
    tail = slice(width - 2 * votes, width)
    if not opposite or weights.gate.weight[0, tail].any() or weights.rest[tail].any():
        return weights

    def longer(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        shape = list(values.shape)
        shape[axis] = 2 * votes
        return np.concatenate([values, np.zeros(shape, np.float32)], axis=axis)

    return replace(
        weights,
        fuse=replace(fuse, weight=longer(fuse.weight, 0), bias=longer(fuse.bias, 0)),
        gate=replace(weights.gate, weight=longer(weights.gate.weight, 1)),
        classifier=(np.concatenate([weight, weight[:, tail]], axis=1), bias),
        rest=longer(weights.rest, 0),
        votes=votes,
    )


def finer(
    exact: StepWeights, fuse: ConvWeights, rounded: Callable[[ConvWeights], ConvWeights]
) -> ConvWeights:
    """The rounded fusion, with what rounding took from each vote.

    Args:
        exact: before rounding.
        fuse: its fusion, rounded.
        rounded: rounds a layer with the inputs of the fusion.
    """
    n = exact.votes
    if not n:
        return fuse
    own = len(fuse.bias) - 4 * n
    plus = slice(own, own + n)
    lost = replace(
        fuse,
        weight=exact.fuse.weight[plus] - fuse.weight[plus],
        bias=exact.fuse.bias[plus] - fuse.bias[plus],
    )
    found = rounded(lost)

    def joined(values: NDArray[np.float32], fine: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([values[: own + n], -values[plus], fine, -fine])

    return replace(
        fuse, weight=joined(fuse.weight, found.weight), bias=joined(fuse.bias, found.bias)
    )
