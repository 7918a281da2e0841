"""How the inputs of each product vary together, over streaming steps with real state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_ser.calibration import FloatStepper
from edge_ser.converters.step_graph import StepModel, state_specs
from edge_ser.converters.weight_rounding import product_inputs
from edge_ser.converters.weights import ConvWeights, StepWeights

__all__ = ["input_covariances"]


def input_covariances(
    model: StepModel,
    weights: StepWeights,
    mels: Sequence[NDArray[np.float32]],
    step_frames: int,
) -> dict[str, NDArray[np.float64]]:
    """Covariance of what an output of each convolution and of the fusion sums up.

    Args:
        model: the float step of ``weights``.
        mels: ``(n_mels, frames)`` log-mel clips.

    Returns:
        By layer ``(groups, n, n)``, ``n = c_in / groups * kernel`` ordered as in its weights.
    """
    layers = (*weights.shallow, *weights.middle, *weights.high, weights.fuse)
    sources = product_inputs(weights)
    watched = sorted({name for layer in layers for name in sources[layer.name]} - {"mel"})
    stepper = FloatStepper(model.onnx, state_specs(model), watched)
    sums = {layer.name: _Sums(layer) for layer in layers}
    for mel in mels:
        heard: dict[str, list[NDArray[np.float32]]] = {name: [] for name in watched}
        for _, inside in stepper.run(mel, step_frames):
            for name in watched:
                heard[name].append(inside[name][0].copy())
        whole = {name: np.concatenate(parts, axis=1) for name, parts in heard.items()}
        whole["mel"] = mel
        for layer in layers:
            inputs = [whole[name] for name in sources[layer.name]]
            sums[layer.name].add(np.concatenate(inputs).astype(np.float64))
    return {name: total.covariance() for name, total in sums.items()}


class _Sums:
    """Running sums of windows and of their products."""

    def __init__(self, layer: ConvWeights) -> None:
        n = layer.weight.shape[1] * layer.weight.shape[2]
        self._layer, self._count = layer, 0
        self._first = np.zeros((layer.groups, n))
        self._second = np.zeros((layer.groups, n, n))

    def add(self, x: NDArray[np.float64]) -> None:
        """``(c_in, time)`` from the beginning of a stream."""
        layer = self._layer
        before = np.full((len(x), layer.history), layer.before)
        x = np.concatenate([before, x], axis=1)
        kernel = layer.weight.shape[2]
        reach = (kernel - 1) * layer.dilation + 1
        windows = np.lib.stride_tricks.sliding_window_view(x, reach, axis=1)
        windows = windows[:, :: layer.stride, :: layer.dilation]  # (c_in, outputs, kernel)
        for group, part in enumerate(np.split(windows, layer.groups)):
            rows = part.transpose(0, 2, 1).reshape(-1, part.shape[1])
            self._first[group] += rows.sum(axis=1)
            self._second[group] += rows @ rows.T
        self._count += windows.shape[1]

    def covariance(self) -> NDArray[np.float64]:
        """Of all windows so far, ``(groups, n, n)``."""
        mean = self._first / self._count
        found: NDArray[np.float64] = self._second / self._count
        found -= np.einsum("gi,gj->gij", mean, mean)
        return found
