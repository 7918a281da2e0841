"""Weights of convolutions for kernels that add two products in 16 bits: finer, and never over."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the step graph comes from a torch student")
onnx = pytest.importorskip("onnx", reason="the converter needs onnx")

from making.students import TINY, mel_of, random_student

from edge_ser.calibration import activation_ranges
from edge_ser.converters.compensation import compensated
from edge_ser.converters.cpu_step import WEIGHT_BITS, build_cpu_step
from edge_ser.converters.forms import FloatForm, Range, RowGrid, quantizable, quantize_weight
from edge_ser.converters.step_graph import build_step, state_specs
from edge_ser.converters.weight_rounding import rounded_weights
from edge_ser.converters.weights import fold_student
from edge_ser.pack import bundled_packs, open_pack

MELS = [mel_of(2.4, seed)[0].numpy() for seed in range(4)]


def largest_pairs(stored: np.ndarray) -> np.ndarray:
    """Of each output, what its two largest weights are together."""
    size = np.sort(np.abs(stored.reshape(len(stored), -1).astype(int)), axis=1)
    return size[:, -2:].sum(axis=1)


def convolutions(model: object) -> dict[str, np.ndarray]:
    """Stored weights of the integer convolutions of a model."""
    graph = model.graph  # type: ignore[attr-defined]
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    return {n.name: constants[n.input[3]] for n in graph.node if n.op_type == "QLinearConv"}


def test_one_large_weight_leaves_a_finer_grid_to_all() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(0.0, 0.1, (16, 8, 3)).astype(np.float32)
    alike = RowGrid.of_pairs(weight).scales
    assert np.all(alike <= 1.001 * RowGrid.of(weight, WEIGHT_BITS).scales)
    weight[:, 0, 1] += 2.0  # a shortcut
    plain, paired = RowGrid.of(weight, WEIGHT_BITS), RowGrid.of_pairs(weight)
    assert np.all(paired.scales < 0.75 * plain.scales)
    coarse, fine = (
        np.abs(stored * scales[:, None, None] - weight).mean()
        for stored, scales in (
            quantize_weight(weight, WEIGHT_BITS),
            quantize_weight(weight, WEIGHT_BITS, paired.scales),
        )
    )
    assert fine < 0.75 * coarse


@pytest.mark.parametrize("shortcut", [0.0, 0.2, 1.0, 10.0])
def test_no_two_weights_overflow_however_they_are_rounded(shortcut: float) -> None:
    rng = np.random.default_rng(1)
    weight = rng.normal(0.0, 0.1, (32, 6, 3)).astype(np.float32)
    weight[:, 0, 1] += shortcut
    grid = RowGrid.of_pairs(weight)
    mixing = rng.normal(size=(18, 18))
    together = compensated(weight, (mixing @ mixing.T)[None], grid)
    for rounded in (weight, together):
        stored, scales = quantize_weight(rounded, WEIGHT_BITS, grid.scales)
        assert largest_pairs(stored).max() <= 128
        assert 255 * largest_pairs(stored).max() < 2**15
        np.testing.assert_array_equal(scales, grid.scales)
    np.testing.assert_allclose(stored * scales[:, None, None], together, atol=1e-6)


def test_the_step_stores_what_was_rounded() -> None:
    weights = fold_student(random_student(TINY))
    model = build_step(weights, FloatForm())
    found = activation_ranges(model.onnx, state_specs(model), quantizable(weights), MELS, 8)
    ranges = {name: Range(*span) for name, span in found.ranges.items()}
    means = {name: np.float32(values) for name, values in found.means.items()}
    ready = rounded_weights(weights, means, WEIGHT_BITS, ranges)
    stored = convolutions(build_cpu_step(ready, ranges).onnx)
    layers = {conv.name: conv for conv in (*ready.shallow, *ready.middle, *ready.high)}
    assert set(stored) == set(layers)
    for name, layer in layers.items():
        assert layer.scales is not None
        real = stored[name].reshape(layer.weight.shape) * layer.scales[:, None, None]
        np.testing.assert_allclose(real, layer.weight, rtol=1e-5, atol=1e-7)
        assert largest_pairs(stored[name]).max() <= 128


def test_the_bundled_model_overflows_nowhere() -> None:
    pack = open_pack(bundled_packs()[0])
    model = onnx.load_from_string(pack.read("model.cpu.onnx"))
    stored = convolutions(model)
    assert len(stored) == 7
    for weight in stored.values():
        assert largest_pairs(weight).max() <= 128
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    products = [node for node in model.graph.node if "MatMulInteger" in node.op_type]
    assert len(products) == 5  # two attentions of two each, and the fusion
    for node in products:
        assert np.abs(constants[node.input[1]].astype(int)).max() <= 63
