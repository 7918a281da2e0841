"""Q/DQ in front of float products of a step whose input has a range: the gate of the memory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edge_ser.converters.forms import Range, quantize_weight, signed_grid

__all__ = ["quantize_rest"]


def quantize_rest(model: onnx.ModelProto, ranges: Mapping[str, Range]) -> onnx.ModelProto:
    """``model`` with every convolution and dense layer quantized whose input has a range.

    Symmetric, one scale per activation, one per output channel of a weight, bias in float: what
    TensorRT takes. A product whose operands are Q/DQ already stays as it is.

    Args:
        model: constant weights, ``Gemm`` with ``transB``.
        ranges: of activations, by the name of the value that the product reads.
    """
    changed: onnx.ModelProto = onnx.ModelProto.FromString(model.SerializeToString())
    graph = changed.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in list(graph.node):
        copy = onnx.NodeProto.FromString(node.SerializeToString())
        is_product = node.op_type in ("Conv", "Gemm") and node.input[1] in stored
        if is_product and node.input[0] in ranges:
            weight = numpy_helper.to_array(stored[node.input[1]])
            copy.input[0] = _activation(graph, nodes, node.input[0], ranges[node.input[0]])
            copy.input[1] = _weight(graph, nodes, node.input[1], weight)
            graph.initializer.remove(stored.pop(node.input[1]))
        nodes.append(copy)
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(changed, full_check=True)
    return changed


def _activation(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], name: str, span: Range) -> str:
    if not any(node.name == f"{name}.dq" for node in nodes):
        scale = _constant(graph, f"{name}.scale", np.float32(signed_grid(span).scale))
        grid = [scale, _constant(graph, f"{name}.zero", np.int8(0))]
        nodes += [
            helper.make_node("QuantizeLinear", [name, *grid], [f"{name}.q"], f"{name}.q"),
            helper.make_node(
                "DequantizeLinear", [f"{name}.q", *grid], [f"{name}.dq"], f"{name}.dq"
            ),
        ]
    return f"{name}.dq"


def _weight(
    graph: onnx.GraphProto, nodes: list[onnx.NodeProto], name: str, weight: NDArray[np.float32]
) -> str:
    whole, scales = quantize_weight(weight.reshape(len(weight), -1, 1), bits=8)
    inputs = [
        _constant(graph, f"{name}.stored", whole.reshape(weight.shape)),
        _constant(graph, f"{name}.scale", scales),
        _constant(graph, f"{name}.zero", np.zeros(len(scales), np.int8)),
    ]
    nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}.dq"], f"{name}.dq", axis=0))
    return f"{name}.dq"


def _constant(graph: onnx.GraphProto, name: str, value: NDArray[np.generic] | np.generic) -> str:
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name
