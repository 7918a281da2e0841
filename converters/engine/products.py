"""The convolutions and matrix products of an ONNX model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx

__all__ = ["Product", "products"]

_KINDS = ("Conv", "MatMul", "Gemm")


@dataclass(frozen=True)
class Product:
    """One product.

    Attributes:
        macs: multiplications of one step.
        outputs: output channels or columns.
        quantized: whether both operands come from Q/DQ.
    """

    node: str
    kind: str
    macs: int
    outputs: int
    quantized: bool


def products(model: onnx.ModelProto) -> list[Product]:
    """Every product of ``model``, in the order of the graph."""
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in inferred.graph.initializer}
    for value in (
        *inferred.graph.value_info,
        *inferred.graph.input,
        *inferred.graph.output,
    ):
        shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    maker = {name: node.op_type for node in model.graph.node for name in node.output}
    found = []
    for node in model.graph.node:
        if node.op_type not in _KINDS:
            continue
        x, weight, out = shapes[node.input[0]], shapes[node.input[1]], shapes[node.output[0]]
        if node.op_type == "Conv":
            macs, outputs = math.prod(out) * math.prod(weight[1:]), weight[0]
        else:
            macs, outputs = math.prod(out) * x[-1], out[-1]
        quantized = all(maker.get(name) == "DequantizeLinear" for name in _sources(node, model))
        found.append(Product(node.name or node.output[0], node.op_type, macs, outputs, quantized))
    return found


def _sources(node: onnx.NodeProto, model: onnx.ModelProto) -> list[str]:
    """Both operands, seen through the transposes that fuse with a product."""
    by_output = {name: item for item in model.graph.node for name in item.output}
    names = []
    for name in node.input[:2]:
        while name in by_output and by_output[name].op_type in ("Transpose", "Reshape"):
            name = by_output[name].input[0]
        names.append(name)
    return names
