"""Weights make up for each other's rounding: on the grid, and with less error in the outputs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="converters need torch")
pytest.importorskip("onnx", reason="converters need onnx")

from making.students import TINY, mel_of, random_student

from benchmarks.model_optimizer.steps import Material
from benchmarks.rounding import each_way
from edge_ser.calibration import activation_ranges
from edge_ser.converters.compensation import compensated
from edge_ser.converters.covariances import input_covariances
from edge_ser.converters.cpu_step import WEIGHT_BITS, build_cpu_step
from edge_ser.converters.forms import FloatForm, Range, RowGrid, quantizable, quantize_weight
from edge_ser.converters.step_graph import build_step, state_specs
from edge_ser.converters.stepping import logits_of
from edge_ser.converters.weight_rounding import rounded_weights
from edge_ser.converters.weights import fold_student
from edge_ser.frontend import LogMelSpec
from edge_ser.models.checkpoint import Checkpoint

MELS = [mel_of(2.4, seed)[0].numpy() for seed in range(4)]


def correlated(n: int, seed: int) -> NDArray[np.float64]:
    """Covariance of ``n`` inputs that a third as many causes drive, as neighbouring frames are."""
    mixed = np.random.default_rng(seed).normal(size=(n, n // 3))
    return mixed @ mixed.T / n + 0.01 * np.eye(n)


def plain(weight: NDArray[np.float32], bits: int) -> NDArray[np.float64]:
    stored, scales = quantize_weight(weight, bits)
    return stored.astype(np.float64) * scales[:, None, None]


def output_error(error: NDArray[np.float64], covariance: NDArray[np.float64]) -> float:
    """Mean variance over the outputs of what ``error`` in the weights adds to them."""
    per_group = len(error) // len(covariance)
    total = 0.0
    for row, values in enumerate(error.reshape(len(error), -1)):
        total += values @ covariance[row // per_group] @ values
    return total / len(error)


@pytest.mark.parametrize("bits", [3, 7, 8])
def test_the_weights_lie_on_the_grid_that_rounding_finds_again(bits: int) -> None:
    weight = np.random.default_rng(0).normal(size=(12, 8, 3)).astype(np.float32)
    covariance = np.stack([correlated(24, seed) for seed in range(2)])
    found = compensated(weight, covariance, RowGrid.of(weight, bits))
    np.testing.assert_allclose(plain(found, bits), found, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(quantize_weight(found, bits)[1], quantize_weight(weight, bits)[1])


@pytest.mark.parametrize("bits", [4, 7])
def test_outputs_err_less_where_inputs_vary_together(bits: int) -> None:
    weight = np.random.default_rng(1).normal(size=(32, 16, 3)).astype(np.float32)
    covariance = np.stack([correlated(48, seed) for seed in range(4)])
    with_it = output_error(
        compensated(weight, covariance, RowGrid.of(weight, bits)) - weight, covariance
    )
    without = output_error(plain(weight, bits) - weight, covariance)
    assert with_it < 0.5 * without


def test_independent_inputs_are_rounded_each_on_its_own() -> None:
    weight = np.random.default_rng(2).normal(size=(6, 10, 1)).astype(np.float32)
    found = compensated(weight, np.eye(10)[None], RowGrid.of(weight, 5))
    np.testing.assert_allclose(found, plain(weight, 5), rtol=1e-5, atol=1e-7)


def test_inputs_that_never_vary_do_no_harm() -> None:
    weight = np.random.default_rng(3).normal(size=(6, 10, 1)).astype(np.float32)
    covariance = correlated(10, 0)
    covariance[:4], covariance[:, :4] = 0.0, 0.0
    for varying in (covariance, np.zeros((10, 10))):
        found = compensated(weight, varying[None], RowGrid.of(weight, 7))
        assert np.isfinite(found).all()
        step = np.abs(weight).max(axis=(1, 2)) / 63
        assert np.abs(found - weight)[:, :4].max() <= 0.51 * step.max()


def test_covariances_are_those_of_the_windows_that_the_layers_read() -> None:
    """Against torch's own convolution: variances of outputs are ``w C w``."""
    student = random_student(TINY)
    weights = fold_student(student)
    found = input_covariances(build_step(weights, FloatForm()), weights, MELS, 8)
    heard: dict[str, list[NDArray[np.float64]]] = {}
    layers = {
        conv.name: (conv, module)
        for convs, modules in (
            (weights.shallow, student.shallow),
            (weights.middle, student.middle),
            (weights.high, student.high),
        )
        for conv, module in zip(convs, modules, strict=True)
    }
    for name, (conv, module) in layers.items():
        weight = torch.from_numpy(conv.weight)

        def listen(_, inputs, __, name=name, conv=conv, weight=weight):  # type: ignore[no-untyped-def]
            x = inputs[0]
            if name == "shallow0":  # its input standardisation is folded into the weights
                x = x / student.mel_scale[:, None] + student.mel_mean[:, None]
            padded = torch.nn.functional.pad(x, (conv.history, 0), value=conv.before)
            y = torch.nn.functional.conv1d(
                padded, weight, stride=conv.stride, dilation=conv.dilation, groups=conv.groups
            )
            heard.setdefault(name, []).append(y[0].double().numpy())

        module.register_forward_hook(listen)
    # The fusion before its ReLU is what leaves its batch norm, which the weights have in them.
    layers["fuse"] = (weights.fuse, student.fuse_norm)
    student.fuse_norm.register_forward_hook(
        lambda _, __, y: heard.setdefault("fuse", []).append(y[0].double().numpy())
    )
    with torch.no_grad():
        for mel in MELS:
            student(torch.from_numpy(mel)[None])
    for name, (conv, _) in layers.items():
        rows = conv.weight.reshape(len(conv.weight), -1).astype(np.float64)
        per_group = len(rows) // conv.groups
        expected = np.concatenate(heard[name], axis=1).var(axis=1)
        variance = [row @ found[name][i // per_group] @ row for i, row in enumerate(rows)]
        np.testing.assert_allclose(variance, expected, rtol=2e-3, atol=1e-6, err_msg=name)


def measured(seed: int):  # type: ignore[no-untyped-def]
    """A student's folded weights, its float step, ranges, means and covariances."""
    weights = fold_student(random_student(TINY, seed))
    model = build_step(weights, FloatForm())
    report = activation_ranges(model.onnx, state_specs(model), quantizable(weights), MELS, 8)
    ranges = {name: Range(*span) for name, span in report.ranges.items()}
    means = {name: np.float32(values) for name, values in report.means.items()}
    return weights, model, ranges, means, input_covariances(model, weights, MELS, 8)


def test_the_fusion_makes_up_for_its_rounding_though_its_parts_have_their_own_scales() -> None:
    weights, _, ranges, means, covariances = measured(0)
    errors = []
    for known in ({}, covariances):
        ready = rounded_weights(weights, means, 4, ranges, covariances=known)
        error = (ready.fuse.weight - weights.fuse.weight).astype(np.float64)
        errors.append(output_error(error, covariances["fuse"]))
    assert errors[1] < 0.5 * errors[0]


def test_layers_kept_in_float_are_left_alone() -> None:
    weights, _, ranges, means, covariances = measured(0)
    keep = ("shallow1", "fuse")
    ready = rounded_weights(weights, means, 7, ranges, keep, covariances)
    assert ready.shallow[1] is weights.shallow[1]
    assert ready.fuse is weights.fuse
    assert not np.array_equal(ready.middle[0].weight, weights.middle[0].weight)


def test_the_step_for_cpus_is_nearer_to_the_float_step() -> None:
    ratios = []
    for seed in range(3):
        weights, model, ranges, means, covariances = measured(seed)
        exact = np.concatenate(logits_of(model, MELS, 8))
        errors = []
        for known in ({}, covariances):
            ready = rounded_weights(weights, means, WEIGHT_BITS, ranges, covariances=known)
            errors.append(np.concatenate(logits_of(build_cpu_step(ready, ranges), MELS, 8)) - exact)
        ratios.append(np.std(errors[0]) / np.std(errors[1]))
    assert np.median(ratios) > 1.2, ratios


def test_the_benchmark_finds_both_roundings_and_the_better_one() -> None:
    spec = LogMelSpec(n_mels=TINY.n_mels, step_frames=TINY.step_frames)
    student = random_student(TINY, 1)
    found = each_way(Material(Checkpoint(student, spec, {}), tuple(MELS[:3]), (MELS[3],), (0,)))
    alone, together = found["each weight alone"], found["together"]
    assert alone.steps == together.steps == MELS[3].shape[1] // TINY.step_frames
    assert 0 < together.mean_score_error < alone.mean_score_error
