"""Every node of an ONNX model that a TensorRT version would refuse or run in float."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from edge_ser.engines.product import version_tuple

__all__ = ["Finding", "lint"]

_NEWEST_OPSET = ((0, 0, 13), (8, 4, 17), (10, 0, 20), (10, 9, 22), (11, 0, 24))
"""Newest opset by parser version (major, minor, opset), from onnx-tensorrt's operators.md."""

_SINCE = {
    "LayerNormalization": (8, 6),
    "GroupNormalization": (8, 6),
    "Gelu": (10, 0),
    "Mish": (10, 0),
    "HardSwish": (8, 4),
    "Trilu": (8, 5),
    "Einsum": (8, 2),
    "ScatterND": (8, 2),
    "ScatterElements": (8, 2),
    "RMSNormalization": (11, 0),
    "Attention": (11, 0),
    "Swish": (11, 0),
}
"""First TensorRT whose parser knows the operator."""

_NEVER = {
    "QLinearConv", "QLinearMatMul", "MatMulInteger", "ConvInteger", "DynamicQuantizeLinear",
    "DFT", "STFT", "QLinearAdd", "QLinearConcat",
}  # fmt: skip
_PRODUCTS = ("Conv", "MatMul", "Gemm")
_WEIGHT_AXIS = {"Conv": 0, "MatMul": 1, "Gemm": 1}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one node.

    Attributes:
        severity: ``error`` if the build fails or numbers change, ``float`` if the node would
            silently leave INT8.
        node: its name.
        operator: its type.
        message: what is wrong and what to do.
    """

    severity: str
    node: str
    operator: str
    message: str

    def __str__(self) -> str:
        return f"{self.operator} {self.node!r}: {self.message}"


def lint(model: onnx.ModelProto, backend: str, version: str) -> list[Finding]:
    """What TensorRT ``version`` would stumble over in ``model``.

    Nodes that are in float on purpose, with no Q/DQ at all on either operand, are found only
    where other nodes of the same kind are quantized.

    Args:
        backend: ``tensorrt`` or ``tensorrt-rtx``, which parses what TensorRT 11 does.
        version: for example ``8.5.2``.
    """
    return list(_Linter(model, backend, version).findings())


class _Linter:
    def __init__(self, model: onnx.ModelProto, backend: str, version: str) -> None:
        self._graph = model.graph
        self._opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        rtx = backend == "tensorrt-rtx"
        self._version = (11, 0) if rtx else version_tuple(version)[:2]
        self._title = f"TensorRT-RTX {version}" if rtx else f"TensorRT {version}"
        self._rtx = rtx
        self._maker = {name: node for node in model.graph.node for name in node.output}
        self._users: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self._users.setdefault(name, []).append(node)
        self._constant = {t.name: t for t in model.graph.initializer}

    def findings(self) -> Iterator[Finding]:
        newest = max(o for major, minor, o in _NEWEST_OPSET if (major, minor) <= self._version)
        if self._opset > newest:
            yield Finding(
                "error", "-", "opset",
                f"the model has opset {self._opset}, {self._title} parses up to {newest}",
            )  # fmt: skip
        for value in self._graph.input:
            shape = value.type.tensor_type.shape.dim
            if any(not dim.HasField("dim_value") or dim.dim_value < 1 for dim in shape):
                yield Finding(
                    "error", value.name, "input",
                    "its shape is not static; every step has the same shapes",
                )  # fmt: skip
        for node in self._graph.node:
            yield from self._operator(node)
            if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
                yield from self._pair(node)
            elif node.op_type in _PRODUCTS:
                yield from self._product(node)

    def _operator(self, node: onnx.NodeProto) -> Iterator[Finding]:
        op = node.op_type
        if node.domain not in ("", "ai.onnx"):
            yield self._error(node, f"domain {node.domain!r} is no standard ONNX")
        elif op in _NEVER and not (op == "STFT" and self._rtx):
            yield self._error(node, f"{self._title} has no such operator")
        elif op in _SINCE and self._version < _SINCE[op]:
            first = ".".join(map(str, _SINCE[op]))
            yield self._error(
                node, f"needs TensorRT {first}, this is {self._title}; export with opset 16"
            )

    def _pair(self, node: onnx.NodeProto) -> Iterator[Finding]:
        if len(node.input) < 3 and self._version < (8, 6):
            yield self._error(node, f"{self._title} wants three inputs, zero point included")
        if len(node.input) > 2:
            yield from self._zero_point(node)
        elif node.op_type == "QuantizeLinear" and self._opset < 21:
            yield self._error(
                node, "it has no zero point, which in ONNX means UINT8; give it an INT8 zero"
            )
        found = self._array(node.input[1])
        if found is None:
            yield self._error(node, "its scale is computed; TensorRT needs a constant")
            return
        scale: NDArray[np.floating[Any]] = found.astype(found.dtype, copy=False)
        if not np.all(np.isfinite(scale)) or np.any(scale <= 0):
            yield self._error(node, "a scale is zero, negative or not finite; calibrate again")
        if scale.dtype == np.float16 and self._version < (10, 0):
            yield self._error(node, f"{self._title} takes FP32 scales only; give it the FP32 form")
        if scale.dtype == np.float16 and self._opset < 19:
            yield self._error(node, f"FP16 scales are legal from opset 19, not in {self._opset}")
        if node.op_type == "DequantizeLinear":
            yield from self._dequantized(node, scale)
        elif scale.size > 1:
            yield Finding(
                "float", node.name, node.op_type,
                "an activation has one scale per channel; TensorRT fuses one per tensor only",
            )  # fmt: skip
        constant = self._array(node.input[0]) if node.op_type == "QuantizeLinear" else None
        if constant is not None and constant.size == 1:
            yield self._error(
                node,
                "a scalar constant of an elementwise operation is quantized; quantize Conv, "
                "MatMul and Gemm only",
            )

    def _zero_point(self, node: onnx.NodeProto) -> Iterator[Finding]:
        zero = self._array(node.input[2])
        if zero is None:
            yield self._error(node, "its zero point is computed; TensorRT needs a constant 0")
            return
        if np.any(zero != 0):
            worst = zero.ravel()[np.flatnonzero(zero.ravel())[0]]
            yield self._error(
                node,
                f"zero point {worst} instead of 0; TensorRT needs symmetric INT8: quantize with "
                "ActivationSymmetric=True and QInt8",
            )
        if zero.dtype not in (np.int8, np.uint8, np.int32):
            yield self._error(node, f"its type is {zero.dtype}; edge-ser builds INT8 only")
        if zero.dtype == np.uint8:
            yield self._error(
                node,
                "UINT8, which TensorRT reads as INT8 and so clips at half of the range; "
                "quantize to INT8",
            )

    def _dequantized(self, node: onnx.NodeProto, scale: NDArray[np.floating]) -> Iterator[Finding]:
        stored = self._constant.get(node.input[0])
        if stored is None:
            return
        users = self._users.get(node.output[0], [])
        if stored.data_type == TensorProto.INT32:
            yield self._error(
                node, "a bias is quantized; TensorRT takes it in float: QuantizeBias=False"
            )
            return
        if np.prod(stored.dims) == 1 and any(user.op_type not in _PRODUCTS for user in users):
            yield self._error(
                node,
                "a scalar constant of an elementwise operation is quantized; quantize Conv, "
                "MatMul and Gemm only",
            )
        if scale.size > 1:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1) % len(stored.dims)
            for user in users:
                wanted = _weight_axis(user)
                if wanted is not None and axis != wanted:
                    yield Finding(
                        "float", node.name, node.op_type,
                        f"the weight of {user.op_type} {user.name!r} has its scales along axis "
                        f"{axis}; only axis {wanted} runs in INT8",
                    )  # fmt: skip

    def _product(self, node: onnx.NodeProto) -> Iterator[Finding]:
        quantized = [self._comes_from_pair(name) for name in node.input[:2]]
        if all(quantized) or not any(quantized):
            # Neither operand: float on purpose if it is too narrow for INT8, told by the report.
            if not any(quantized) and self._model_is_quantized() and self._is_wide(node):
                yield Finding("float", node.name, node.op_type, "has no Q/DQ and stays in float")
            return
        side = "second" if quantized[0] else "first"
        yield Finding(
            "float", node.name, node.op_type,
            f"its {side} operand has no Q/DQ, so the product runs in float",
        )  # fmt: skip

    def _is_wide(self, node: onnx.NodeProto) -> bool:
        """Large enough that INT8 would pay: both sides of the weight have 16 or more."""
        weight = self._array(node.input[1])
        return weight is None or min(weight.shape[:2]) >= 16

    def _model_is_quantized(self) -> bool:
        return any(node.op_type == "QuantizeLinear" for node in self._graph.node)

    def _comes_from_pair(self, name: str) -> bool:
        node = self._maker.get(name)
        while node is not None and node.op_type in ("Transpose", "Reshape"):
            node = self._maker.get(node.input[0])
        return node is not None and node.op_type == "DequantizeLinear"

    def _array(self, name: str) -> NDArray[np.generic] | None:
        if name in self._constant:
            return numpy_helper.to_array(self._constant[name])
        node = self._maker.get(name)
        if node is not None and node.op_type == "Constant":
            return numpy_helper.to_array(node.attribute[0].t)
        return None

    def _error(self, node: onnx.NodeProto, message: str) -> Finding:
        return Finding("error", node.name or node.output[0], node.op_type, message)


def _weight_axis(user: onnx.NodeProto) -> int | None:
    if user.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in user.attribute) else 1
    return _WEIGHT_AXIS.get(user.op_type)
