"""The rewrites that bring the gate into INT8, and Turing's convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the rewrites read and write ONNX")

from edge_ser.calibration import FloatStepper
from edge_ser.converters.convert import state_specs
from edge_ser.converters.engine.products import products
from edge_ser.converters.forms import Range
from edge_ser.converters.half import to_half
from edge_ser.converters.quantize_rest import quantize_rest
from edge_ser.converters.step_graph import StepModel
from edge_ser.converters.trt_lint import lint
from edge_ser.converters.unfold import unfold_convolutions
from edge_ser.converters.unquantize import unquantized


def logits(model: Any, states: Any, seed: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mel = (rng.standard_normal((64, 400)) * 3 - 6).astype(np.float32)
    specs = state_specs(StepModel(model, states))
    return FloatStepper(model, specs).logits(mel, 8)


def test_every_product_of_the_int8_form_but_the_classifier_is_quantized(steps: Any) -> None:
    found = products(steps["tensorrt"].onnx)
    assert len(found) == 16
    assert [product.node for product in found if not product.quantized] == ["classifier"]


def test_only_products_with_a_range_are_changed_and_no_pair_is_doubled(steps: Any) -> None:
    model = steps["tensorrt"].onnx
    wide = Range(-10.0, 10.0)
    again = quantize_rest(model, {"fuse": wide})
    assert again.SerializeToString() == model.SerializeToString()
    plain = steps["tensorrt-float"].onnx
    some = products(quantize_rest(plain, {"pooled": wide}))
    assert [product.node for product in some if product.quantized] == ["classifier"]


def test_a_range_too_narrow_is_seen_in_the_scores(steps: Any) -> None:
    model, states = steps["tensorrt-float"].onnx, steps["tensorrt-float"].states
    exact = logits(model, states)
    fitting = quantize_rest(model, {"pooled": Range(0.0, 4.0)})
    clipped = quantize_rest(model, {"pooled": Range(0.0, 0.01)})
    assert np.abs(logits(fitting, states) - exact).max() < 0.2 * np.abs(exact).max()
    assert np.abs(logits(clipped, states) - exact).max() > 5 * (
        np.abs(logits(fitting, states) - exact).max()
    )


def test_unfolded_convolutions_give_the_same_numbers(steps: Any) -> None:
    """Only the order of sums differs, which may turn a rounding, never more."""
    step = steps["tensorrt"]
    unfolded = unfold_convolutions(step.onnx)
    assert not [node for node in unfolded.graph.node if node.op_type == "Conv"]
    assert [p.node for p in products(unfolded) if not p.quantized] == ["classifier"]
    assert sum(p.macs for p in products(unfolded)) == sum(p.macs for p in products(step.onnx))
    exact = logits(step.onnx, step.states)
    error = np.abs(logits(unfolded, step.states) - exact)
    assert np.median(error) < 1e-4 * np.abs(exact).max()
    assert error.max() < 0.02 * np.abs(exact).max()


def test_unfolded_models_are_clean_and_have_an_fp16_form(steps: Any) -> None:
    half = to_half(unfold_convolutions(steps["tensorrt"].onnx))
    assert lint(half, "tensorrt-rtx", "1.7") == []


def test_float_convolutions_stay(steps: Any) -> None:
    model = steps["tensorrt-float"].onnx
    assert [n.op_type for n in unfold_convolutions(model).graph.node] == [
        n.op_type for n in model.graph.node
    ]


def test_scales_too_small_for_fp16_are_widened_along_the_right_axis(steps: Any) -> None:
    """A matrix keeps its scales along axis 1, a convolution along axis 0."""
    model = onnx.ModelProto.FromString(
        unfold_convolutions(steps["tensorrt"].onnx).SerializeToString()
    )
    name = "fuse.sum.unfolded.matrix"
    tensor = next(t for t in model.graph.initializer if t.name == f"{name}.scale")
    scales = onnx.numpy_helper.to_array(tensor).copy()
    scales[3] = 2.0**-15
    tensor.CopyFrom(onnx.numpy_helper.from_array(scales, tensor.name))
    before = next(t for t in model.graph.initializer if t.name == f"{name}.stored")
    after = next(t for t in to_half(model).graph.initializer if t.name == f"{name}.stored")
    old, new = (onnx.numpy_helper.to_array(t).astype(int) for t in (before, after))
    assert np.array_equal(np.delete(old, 3, axis=1), np.delete(new, 3, axis=1))
    assert np.abs(new[:, 3] - old[:, 3] / 2).max() <= 0.5


def test_unquantized_is_closer_to_the_float_model_than_the_quantized_one(steps: Any) -> None:
    step = steps["tensorrt"]
    plain = unquantized(step.onnx)
    assert not [node for node in plain.graph.node if "quantize" in node.op_type.lower()]
    assert not any(tensor.data_type == onnx.TensorProto.INT8 for tensor in plain.graph.initializer)
    exact = logits(steps["tensorrt-float"].onnx, steps["tensorrt-float"].states)
    rounded = logits(step.onnx, step.states)
    without = logits(plain, step.states)
    assert np.abs(without - exact).mean() < np.abs(rounded - exact).mean()
    assert np.abs(logits(to_half(plain), step.states) - without).max() < 0.05
