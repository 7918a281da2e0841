"""Activation ranges over streaming steps with the state that the stream really has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import HistogramCollector

from edge_ser.calibration.stepper import FloatStepper
from edge_ser.errors import InputError
from edge_ser.pack import StateSpec

__all__ = ["METHODS", "RangeReport", "activation_ranges"]

METHODS = ("minmax", "entropy", "percentile")
_PERCENTILE = 99.99
_BINS = 2048
_STEPS_AT_ONCE = 64


@dataclass(frozen=True)
class RangeReport:
    """Measured ranges and what they rest on.

    Attributes:
        ranges: ``(low, high)`` of each activation.
        means: of every channel of those activations that have channels, ``(channels,)``.
        method: one of ``METHODS``.
        clips: how many clips were really run.
        steps: how many steps were really run.
    """

    ranges: dict[str, tuple[float, float]]
    means: dict[str, list[float]]
    method: str
    clips: int
    steps: int


def activation_ranges(
    model: onnx.ModelProto,
    states: Sequence[StateSpec],
    activations: Sequence[str],
    mels: Iterable[NDArray[np.float32]],
    step_frames: int,
    method: str = "minmax",
) -> RangeReport:
    """Run the float ``model`` over clips, step by step, and measure its activations.

    Histograms and the choice of a range from them (entropy: the range with the smallest
    Kullback-Leibler divergence; percentile: cutting 0.01 %) are ONNX Runtime's.

    Args:
        activations: names of float tensors of the model; ``mel`` is its input.
        mels: ``(n_mels, frames)`` log-mel clips.

    Raises:
        InputError: there was no step to run, one was not run, an activation was not finite, or
            the method is unknown.
    """
    if method not in METHODS:
        raise InputError(f"unknown calibration method {method!r}; known are {', '.join(METHODS)}")
    inner = [name for name in activations if name != "mel"]
    stepper = FloatStepper(model, states, inner)
    lows = dict.fromkeys(activations, np.inf)
    highs = dict.fromkeys(activations, -np.inf)
    collector = None
    if method != "minmax":
        collector = HistogramCollector(
            method=method,
            symmetric=False,
            num_bins=_BINS,
            num_quantized_bins=128,
            percentile=_PERCENTILE,
            scenario="same",
        )
    n_clips = n_steps = n_due = 0
    sums: dict[str, NDArray[np.float64]] = {}
    frames: dict[str, int] = {}
    pending: dict[str, list[NDArray[np.float32]]] = {name: [] for name in activations}

    def flush() -> None:
        if collector is not None and pending[activations[0]]:
            with redirect_stdout(StringIO()):  # ONNX Runtime prints a line for each
                collector.collect(pending)
        for values in pending.values():
            values.clear()

    for mel in mels:
        n_clips += 1
        n_due += -(-mel.shape[1] // step_frames)
        for step, (_, inside) in enumerate(stepper.run(mel, step_frames)):
            inside["mel"] = mel[:, step * step_frames : (step + 1) * step_frames]
            for name in activations:
                values = inside[name]
                lows[name] = min(lows[name], float(values.min()))
                highs[name] = max(highs[name], float(values.max()))
                if (values.ndim == 3 and len(values) == 1) or name == "mel":  # (1, channels, time)
                    sums[name] = sums.get(name, 0.0) + _channels(values).sum(axis=1)
                    frames[name] = frames.get(name, 0) + values.shape[-1]
                if collector is not None:
                    pending[name].append(values.reshape(-1))
            n_steps += 1
            if n_steps % _STEPS_AT_ONCE == 0:
                flush()
    flush()
    if n_steps == 0:
        raise InputError("no calibration step was run; the calibration clips hold no audio")
    if n_steps != n_due:
        raise InputError(f"only {n_steps} of {n_due} calibration steps were run")
    for name in activations:
        if not (np.isfinite(lows[name]) and np.isfinite(highs[name])):
            raise InputError(f"activation {name} is not finite on calibration audio")
    ranges = {name: (lows[name], highs[name]) for name in activations}
    if collector is not None:
        with redirect_stdout(StringIO()):
            results = collector.compute_collection_result()
        for name, found in results.items():
            low, high = float(found[0]), float(found[1])
            ranges[name] = (max(low, lows[name]), min(high, highs[name]))
    means = {name: (total / frames[name]).tolist() for name, total in sums.items()}
    return RangeReport(ranges, means, method, n_clips, n_steps)


def _channels(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """``(1, channels, time)`` or ``(channels, time)`` as the latter."""
    return values.reshape(values.shape[-2:]).astype(np.float64)
