"""One form of the step: how near to float, what it quantizes, what TensorRT makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_ser.calibration import FloatStepper
from edge_ser.converters.engine.job import build_apart
from edge_ser.converters.engine.products import products
from edge_ser.converters.engine.report import Int8Report, report_int8
from edge_ser.converters.engine.settings import BuildSettings
from edge_ser.converters.trt_lint import lint
from edge_ser.errors import BackendError
from edge_ser.pack import StateSpec
from edge_ser.parity import Parity, compare

__all__ = ["Engine", "Judge", "Placement", "Row", "measure", "placement"]

_TENSORRT = ("8.5.2", "8.6.1", "10.0.1", "10.9.0", "11.0.0")
_MOVES = {
    "QuantizeLinear", "DequantizeLinear", "Transpose", "Reshape", "Slice", "Concat", "Split"
}  # fmt: skip


@dataclass(frozen=True)
class Placement:
    """Where Q/DQ pairs stand.

    Attributes:
        products: convolutions and matrix products of which both operands are quantized.
        left: the others.
        others: nodes that compute on dequantized values, no products, as ``operator name``.
    """

    products: tuple[str, ...]
    left: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True)
class Engine:
    """An engine of TensorRT for RTX, or why there is none."""

    bytes: int
    report: Int8Report | None
    error: str = ""


@dataclass(frozen=True)
class Judge:
    """The float step that all forms are compared with, and what it said.

    Attributes:
        exact: its logits per clip, ``(steps, labels) float32``.
        mels: the clips, ``(n_mels, frames) float32``.
        truth: index of the label of each.
    """

    exact: Sequence[NDArray[np.float32]]
    mels: Sequence[NDArray[np.float32]]
    truth: Sequence[int]
    states: Sequence[StateSpec]
    labels: tuple[str, ...]
    step_frames: int
    temperature: float

    def parity(self, model: onnx.ModelProto) -> Parity:
        """How far ``model`` is from the float step, streamed, rounding where a GPU rounds.

        Raises:
            InputError: ONNX Runtime does not take ``model``.
        """
        stepper = FloatStepper(model, self.states)
        got = [stepper.logits(mel, self.step_frames) for mel in self.mels]
        return compare(self.exact, got, self.truth, self.labels, self.temperature)


@dataclass(frozen=True)
class Row:
    """All that is told of a form.

    Attributes:
        base: of what is not INT8, ``fp32`` or ``fp16``.
        bytes: of the ONNX file.
        oldest: TensorRT that takes it, by the linter; empty if none does.
    """

    name: str
    base: str
    bytes: int
    opset: int
    oldest: str
    parity: Parity
    placement: Placement
    engine: Engine

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        report = self.engine.report
        return {
            **asdict(self),
            "parity": self.parity.to_dict(),
            "engine": {
                "bytes": self.engine.bytes,
                "error": self.engine.error,
                "report": report.to_dict() if report else None,
            },
        }


def measure(name: str, base: str, model: onnx.ModelProto, judge: Judge, capability: str) -> Row:
    """All that is told of ``model``.

    Args:
        base: of what is not INT8, ``fp32`` or ``fp16``.
        capability: GPU to build for, like ``8.6``.
    """
    return Row(
        name,
        base,
        model.ByteSize(),
        max(item.version for item in model.opset_import if item.domain in ("", "ai.onnx")),
        _oldest_tensorrt(model),
        judge.parity(model),
        placement(model),
        _build(model, base, capability),
    )


def placement(model: onnx.ModelProto) -> Placement:
    """Where the Q/DQ pairs of ``model`` stand."""
    found = products(model)
    names = {product.node for product in found}
    made = {name for n in model.graph.node if n.op_type == "DequantizeLinear" for name in n.output}
    others = [
        f"{node.op_type} {node.name}"
        for node in model.graph.node
        if node.op_type not in _MOVES and node.name not in names and made & set(node.input)
    ]
    return Placement(
        tuple(product.node for product in found if product.quantized),
        tuple(product.node for product in found if not product.quantized),
        tuple(others),
    )


def _build(model: onnx.ModelProto, base: str, capability: str) -> Engine:
    """What TensorRT for RTX makes of ``model`` for one kind of GPU; no GPU is needed."""
    settings = BuildSettings((capability,), int8=True, half=base == "fp16")
    try:
        plan = build_apart(
            "tensorrt-rtx", model.SerializeToString(), settings, lambda phase, done, whole: None
        )
    except BackendError as error:
        return Engine(0, None, str(error))
    return Engine(len(plan.content), report_int8(plan.layers, model))


def _oldest_tensorrt(model: onnx.ModelProto) -> str:
    """The oldest TensorRT in which the linter finds nothing wrong; empty if there is none."""
    for version in _TENSORRT:
        if all(finding.severity != "error" for finding in lint(model, "tensorrt", version)):
            return version
    return ""
