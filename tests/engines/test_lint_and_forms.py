"""The linter names each bad node; the forms of the pack are clean, and agree on the CPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the linter reads ONNX")

from edge_ser.cli import main
from edge_ser.converters.half import to_half
from edge_ser.converters.trt_lint import lint
from edge_ser.errors import GateMissed, UsageError
from edge_ser.pack import Pack

VERSIONS = ("8.5.2", "8.6.2", "10.3.0", "10.13.3", "11.4.0")


def messages(model: Any, version: str = "10.3.0", backend: str = "tensorrt") -> list[str]:
    return [f"{f.severity}: {f}" for f in lint(model, backend, version)]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-float", "float"])
def test_forms_of_a_pack_are_clean(steps: Any, name: str, version: str) -> None:
    found = messages(steps[name].onnx, version)
    assert [item for item in found if item.startswith("error")] == []
    assert found == []  # nothing stays in float either


def test_fp16_forms_need_tensorrt_10(steps: Any) -> None:
    half = to_half(steps["tensorrt"].onnx)
    assert [m for m in messages(half, "10.3.0") if m.startswith("error")] == []
    assert [m for m in messages(half, "1.7", "tensorrt-rtx") if m.startswith("error")] == []
    assert any("opset 19" in m for m in messages(half, "8.6.2"))
    assert any("FP32 scales only" in m for m in messages(half, "8.6.2"))


def changed(model: Any, change: Callable[[Any], None]) -> Any:
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    change(copy.graph)
    return copy


def constant(graph: Any, name: str, array: np.ndarray) -> None:
    for tensor in graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, name))


def node(graph: Any, op: str, output: str) -> Any:
    return next(n for n in graph.node if n.op_type == op and n.output[0] == output)


def zero_point(value: Any) -> Callable[[Any], None]:
    def change(graph: Any) -> None:
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), "odd"))
        for op, output in (
            ("QuantizeLinear", "middle0.joined.q"),
            ("DequantizeLinear", "middle0.joined.dq"),
        ):
            node(graph, op, output).input[2] = "odd"

    return change


def wrong_axis(graph: Any) -> None:
    item = node(graph, "DequantizeLinear", "middle0.weight")
    next(a for a in item.attribute if a.name == "axis").i = 1


def quantized_bias(graph: Any) -> None:
    bias = "middle0.bias"
    constant(graph, bias, np.zeros(96, np.int32))
    graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.1), "bias.scale"))
    new = onnx.helper.make_node(
        "DequantizeLinear", [bias, "bias.scale"], ["bias.dq"], name="bias.dq"
    )
    graph.node.insert(0, new)
    node(graph, "Conv", "middle0.sum").input[2] = "bias.dq"


def no_pair(graph: Any) -> None:
    node(graph, "Conv", "middle0.sum").input[0] = "middle0.joined"


def bad_scale(graph: Any) -> None:
    shape = onnx.numpy_helper.to_array(
        next(t for t in graph.initializer if t.name == "middle0.weight.scale")
    ).shape
    constant(graph, "middle0.weight.scale", np.zeros(shape, np.float32))


def unknown_operator(graph: Any) -> None:
    node(graph, "Relu", "middle0").op_type = "Gelu"


def plugin(graph: Any) -> None:
    item = node(graph, "Relu", "middle0")
    item.domain, item.op_type = "com.microsoft", "FastGelu"


def unsigned_by_default(graph: Any) -> None:
    del node(graph, "QuantizeLinear", "middle0.joined.q").input[2]


def two_inputs(graph: Any) -> None:
    del node(graph, "DequantizeLinear", "middle0.joined.dq").input[2]


def scalar(graph: Any) -> None:
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(3, np.int8), "three"))
    graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.1), "three.scale"))
    new = onnx.helper.make_node(
        "DequantizeLinear", ["three", "three.scale"], ["three.dq"], name="three.dq"
    )
    graph.node.insert(0, new)
    node(graph, "Mul", "memory.faded").input[1] = "three.dq"


@pytest.mark.parametrize(
    ("change", "version", "message"),
    [
        (
            zero_point(np.int8(3)),
            "10.3.0",
            "error: QuantizeLinear 'middle0.joined.q': zero point 3",
        ),
        (zero_point(np.uint8(0)), "10.3.0", "error: QuantizeLinear 'middle0.joined.q': UINT8"),
        (wrong_axis, "10.3.0", "float: DequantizeLinear 'middle0.weight': the weight of Conv"),
        (quantized_bias, "10.3.0", "error: DequantizeLinear 'bias.dq': a bias is quantized"),
        (no_pair, "10.3.0", "float: Conv 'middle0.sum': its first operand has no Q/DQ"),
        (bad_scale, "10.3.0", "error: DequantizeLinear 'middle0.weight': a scale is zero"),
        (unknown_operator, "8.6.2", "error: Gelu 'middle0': needs TensorRT 10.0"),
        (plugin, "11.4.0", "error: FastGelu 'middle0': domain 'com.microsoft'"),
        (
            unsigned_by_default,
            "10.3.0",
            "error: QuantizeLinear 'middle0.joined.q': it has no zero point",
        ),
        (
            zero_point(np.int16(0)),
            "11.4.0",
            "error: QuantizeLinear 'middle0.joined.q': its type is int16",
        ),
        (two_inputs, "8.5.2", "error: DequantizeLinear 'middle0.joined.dq': TensorRT 8.5.2 wants"),
        (scalar, "10.3.0", "error: DequantizeLinear 'three.dq': a scalar constant"),
    ],
)
def test_each_fault_is_named(
    steps: Any, change: Callable[[Any], None], version: str, message: str
) -> None:
    found = messages(changed(steps["tensorrt"].onnx, change), version)
    assert [item for item in found if item.startswith(message)], found


def test_what_was_wrong_before_is_right_in_a_later_version(steps: Any) -> None:
    model = changed(steps["tensorrt"].onnx, unknown_operator)
    assert not [m for m in messages(model, "10.3.0") if m.startswith("error")]
    model = changed(steps["tensorrt"].onnx, two_inputs)
    assert not [m for m in messages(model, "8.6.2") if m.startswith("error")]


@pytest.mark.parametrize("version", ["8.5.2", "8.6.2", "10.3.0", "10.13.3", "11.4.1"])
def test_lint_without_tensorrt(
    pack: Pack, version: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["build", str(pack.path), "--backend", "tensorrt", "--lint", version, "--json"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []


def test_lint_names_what_an_old_one_refuses(pack: Pack, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", str(pack.path), "--backend", "tensorrt", "--lint", "8.2.1"]) == 2
    told = capsys.readouterr()
    assert "the model has opset 16, TensorRT 8.2.1 parses up to 13" in told.out
    assert "would refuse" in told.err
    assert main(["build", str(pack.path), "--backend", "tensorrt", "--lint", "new"]) == 2
    assert "is no version" in capsys.readouterr().err


def run(model: Any, states: Any, mels: np.ndarray) -> np.ndarray:
    from edge_ser.calibration import FloatStepper
    from edge_ser.converters.convert import state_specs
    from edge_ser.converters.step_graph import StepModel

    stepper = FloatStepper(model, state_specs(StepModel(model, states)))
    return stepper.logits(mels, 8)


def test_what_goes_into_engines_agrees_with_the_float_model(steps: Any) -> None:
    """The exact ONNX of each variant, on ONNX Runtime, against FP32."""
    rng = np.random.default_rng(5)
    mel = (rng.standard_normal((64, 800)) * 3 - 6).astype(np.float32)
    exact = run(steps["float"].onnx, steps["float"].states, mel)
    scale = np.abs(exact - exact.mean(axis=0)).max()
    padded = steps["tensorrt-float"]
    int8 = steps["tensorrt"]
    for model, states, bound in (
        (padded.onnx, padded.states, 0.01),  # its weights are stored in FP16
        (to_half(padded.onnx), padded.states, 0.05),
        (int8.onnx, int8.states, 0.5),
        (to_half(int8.onnx), int8.states, 0.5),
    ):
        assert np.abs(run(model, states, mel) - exact).max() < bound * scale


def test_padded_heads_change_no_number(steps: Any) -> None:
    from edge_ser.converters.attention import pad_heads
    from edge_ser.converters.forms import FloatForm
    from edge_ser.converters.step_graph import build_step
    from edge_ser.converters.tensorrt_forms import TensorRtFloatForm
    from edge_ser.converters.weights import fold_student
    from edge_ser.frontend import LogMelSpec
    from edge_ser.models.student import Student, StudentConfig

    weights = fold_student(Student(StudentConfig(trunk=40, heads=2), LogMelSpec().silence).eval())
    padded = pad_heads(weights)
    assert padded.middle_attention.weight.shape[0] == 3 * 2 * 32
    mel = (np.random.default_rng(0).standard_normal((64, 160)) * 3 - 6).astype(np.float32)
    plain = build_step(weights, FloatForm())
    wide = build_step(padded, TensorRtFloatForm())
    assert (
        np.abs(run(plain.onnx, plain.states, mel) - run(wide.onnx, wide.states, mel)).max() < 1e-6
    )


def test_fp16_never_stores_a_scale_that_it_cannot_hold(steps: Any) -> None:
    def shrink(graph: Any) -> None:
        tensor = next(t for t in graph.initializer if t.name == "middle0.weight.scale")
        scales = onnx.numpy_helper.to_array(tensor).copy()
        scales[:3] = 1e-8
        constant(graph, tensor.name, scales)

    half = to_half(changed(steps["tensorrt"].onnx, shrink))
    scales = [onnx.numpy_helper.to_array(t) for t in half.graph.initializer if "scale" in t.name]
    assert min(s.min() for s in scales) >= 2.0**-14
    assert not [m for m in messages(half) if m.startswith("error")]


def test_a_silent_fall_back_fails_the_build(steps: Any) -> None:
    from edge_ser.converters.engine.report import check_share, report_int8

    model = steps["tensorrt"].onnx
    lines = ["Layers:"]
    for item in model.graph.node:
        if item.op_type in ("Conv", "MatMul", "Gemm"):
            lines.append(
                f"Name: {item.name}_myl0_1, LayerType: correlation, Inputs: [ {{ Name: a, "
                "Datatype: Half, Format: x }], Outputs: [ { Name: b, Datatype: Half, Format: x }],"
                f" TacticName: t, Metadata: [ONNX Layer: {item.name}]"
            )
    report = report_int8("\n".join(lines), model)
    assert report.int8_share == 0.0
    assert report.layers == len(lines) - 1
    with pytest.raises(GateMissed, match=r"only 0\.0% .*shallow0.sum \(fp16\)"):
        check_share(report.to_dict(), 0.9)
    report = report_int8("\n".join(lines).replace("Half", "Int8"), model)
    assert [row["node"] for row in report.not_int8] == ["classifier"]
    assert 0.999 < report.int8_share < 1.0
    check_share(report.to_dict(), 0.9)


def test_a_float_product_in_a_kernel_that_reads_int8_is_float(steps: Any) -> None:
    from edge_ser.converters.engine.report import report_int8

    lines = ["Layers:"]
    for kernel, kind in (("Mul", "Int8"), ("Add", "Float")):
        lines.append(
            f"Name: __myl_{kernel}_myl0_1, LayerType: kgen, Inputs: [ {{ Name: a, "
            f"Datatype: {kind}, Format: x }}], Outputs: [ {{ Name: b, Datatype: Float, Format: x }}],"
            " TacticName: t, Metadata: [ONNX Layer: gate.logit]"
        )
    plain = report_int8("\n".join(lines), steps["float"].onnx)
    assert plain.products["int8"] == 0
    assert {r["node"]: r["precision"] for r in plain.not_int8}["gate.logit"] == "fp32"
    quantized = report_int8("\n".join(lines), steps["tensorrt"].onnx)
    assert quantized.products["int8"] == 1


def test_variants_of_each_gpu() -> None:
    from edge_ser.converters.engine.variants import default_variant, variants_for

    def names(*arguments: Any) -> list[str]:
        return [str(v) for v in variants_for(*arguments)]

    assert names("auto", "tensorrt", ("8.7",)) == ["int8+fp16", "fp16", "int8+fp32", "fp32"]
    assert names("auto", "tensorrt-rtx", ("7.5", "8.6")) == ["int8+fp16", "fp16"]
    assert names("int8", "tensorrt-rtx", ("7.5",)) == ["int8+fp16"]
    assert str(default_variant("tensorrt-rtx", ("8.6",))) == "int8+fp16"
    assert str(default_variant("tensorrt-rtx", ("7.5",))) == "fp16"
    with pytest.raises(UsageError, match="no FP32 matrix products"):
        names("fp32", "tensorrt-rtx", ("7.5",))


def test_boards_without_int8_build_fp16(pack: Pack) -> None:
    from edge_ser.converters.engine.variants import board_variants, default_variant, variants_for

    chosen, note = board_variants(variants_for("int8", "tensorrt", ("5.3",)), ("5.3",))
    assert [str(v) for v in chosen] == ["fp16"]
    assert "5.3" in note
    assert "no INT8" in note
    chosen, note = board_variants(variants_for("auto", "tensorrt", ("6.2",)), ("6.2",))
    assert [str(v) for v in chosen] == ["fp16", "fp32"]
    assert "6.2 have no INT8; building FP16 instead" in note
    assert str(default_variant("tensorrt", ("5.3",))) == "fp16"
    kept, nothing = board_variants(variants_for("int8", "tensorrt", ("8.7",)), ("8.7",))
    assert [str(v) for v in kept] == ["int8+fp32"]
    assert nothing == ""
