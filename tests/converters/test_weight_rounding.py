"""Biases take back what rounding the weights does to the mean of every channel."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="converters need torch")
pytest.importorskip("onnx", reason="converters need onnx")

from making.students import TINY, mel_of, random_student

from edge_ser.calibration import activation_ranges
from edge_ser.converters.cpu_step import WEIGHT_BITS, build_cpu_step
from edge_ser.converters.forms import (
    FloatForm,
    Range,
    quantizable,
    quantize_weight,
    unsigned_grid,
)
from edge_ser.converters.step_graph import StepModel, build_step, state_specs
from edge_ser.converters.stepping import logits_of
from edge_ser.converters.weight_rounding import product_inputs, rounded_weights
from edge_ser.converters.weights import StepWeights, fold_student

MELS = [mel_of(2.4, seed)[0].numpy() for seed in range(4)]
Means = dict[str, np.ndarray]


def measured(weights: StepWeights) -> tuple[dict[str, Range], Means]:
    model = build_step(weights, FloatForm())
    found = activation_ranges(model.onnx, state_specs(model), quantizable(weights), MELS, 8)
    ranges = {name: Range(*span) for name, span in found.ranges.items()}
    return ranges, {name: np.float32(values) for name, values in found.means.items()}


def shift_of_logits(model: StepModel, exact: StepModel) -> float:
    differences = [
        (a - b).mean(0)
        for a, b in zip(logits_of(model, MELS, 8), logits_of(exact, MELS, 8), strict=True)
    ]
    return float(np.abs(np.mean(differences, axis=0)).mean())


def test_every_input_of_a_product_has_a_mean_per_channel() -> None:
    weights = fold_student(random_student(TINY))
    ranges, means = measured(weights)
    for name, sources in product_inputs(weights).items():
        assert set(sources) <= set(ranges), name
        layer = {
            conv.name: conv
            for conv in (*weights.shallow, *weights.middle, *weights.high, weights.fuse)
        }.get(name)
        if layer is not None:
            assert sum(len(means[source]) for source in sources) == layer.c_in
    mel = np.concatenate(MELS, axis=1)
    np.testing.assert_allclose(means["mel"], mel.mean(axis=1), rtol=1e-4)


def test_a_rounded_layer_keeps_the_mean_of_its_outputs() -> None:
    weights = fold_student(random_student(TINY))
    _, means = measured(weights)
    corrected = rounded_weights(weights, means, bits=3)
    for before, after in zip(weights.middle, corrected.middle, strict=True):
        (source,) = product_inputs(weights)[before.name]
        mean = means[source].reshape(before.groups, -1).repeat(len(before.bias) // before.groups, 0)
        stored, scales = quantize_weight(before.weight, 3)
        rounded = stored * scales[:, None, None]
        wanted = np.einsum("oik,oi->o", before.weight, mean) + before.bias
        without = np.einsum("oik,oi->o", rounded, mean) + before.bias
        found = np.einsum("oik,oi->o", rounded, mean) + after.bias
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        assert np.abs(without - wanted).max() > 0.01


def test_fused_parts_are_rounded_with_their_scales_in_the_weights() -> None:
    """The exact shift of the fusion and of both attentions, as ``cpu_step`` rounds them."""
    weights = fold_student(random_student(TINY))
    ranges, means = measured(weights)
    corrected = rounded_weights(weights, means, 4, ranges)
    attentions = (weights.middle_attention.name, weights.high_attention.name)
    outs = [ranges[f"{name}.out"] for name in attentions]
    both = Range(min(span.low for span in outs), max(span.high for span in outs))
    for name in ("fuse", "middle_attention", "high_attention"):
        before, after = getattr(weights, name), getattr(corrected, name)
        sources = product_inputs(weights)[before.name]
        mean = np.concatenate([means[source] for source in sources])
        scale = np.concatenate(
            [
                np.full(
                    len(means[source]),
                    unsigned_grid(both if source.endswith(".out") else ranges[source]).scale,
                )
                for source in sources
            ]
        )
        stored, scales = quantize_weight((before.weight * scale[:, None]).astype(np.float32), 4)
        rounded = stored[:, :, 0] * scales[:, None] / scale
        wanted = before.weight[:, :, 0] @ mean + before.bias
        np.testing.assert_allclose(rounded @ mean + after.bias, wanted, atol=1e-4)


def test_the_step_for_cpus_is_nearer_to_the_float_step() -> None:
    gains = []
    for seed in range(3):
        weights = fold_student(random_student(TINY, seed))
        ranges, means = measured(weights)
        exact = build_step(weights, FloatForm())
        plain = shift_of_logits(build_cpu_step(weights, ranges), exact)
        corrected = rounded_weights(weights, means, WEIGHT_BITS, ranges)
        gains.append(plain / shift_of_logits(build_cpu_step(corrected, ranges), exact))
    assert np.median(gains) > 1.1


def test_layers_that_stay_in_float_are_left_alone() -> None:
    weights = fold_student(random_student(TINY))
    ranges, means = measured(weights)
    kept = weights.middle[0].name
    corrected = rounded_weights(weights, means, WEIGHT_BITS, ranges, keep=[kept])
    assert corrected.middle[0] is weights.middle[0]
    assert not np.array_equal(corrected.middle[1].bias, weights.middle[1].bias)
