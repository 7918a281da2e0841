"""A quantized step back in floating point, for builds that want it and packs without one."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

__all__ = ["unquantized"]


def unquantized(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` without its Q/DQ pairs: activations stay as they are, weights are dequantized.

    The weights keep the values of their INT8 grid, so what is left of the difference to the
    quantized model is the rounding of activations.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    quantized = {n.output[0]: n for n in model.graph.node if n.op_type == "QuantizeLinear"}
    renamed: dict[str, str] = {}
    nodes, made = list[onnx.NodeProto](), list[onnx.TensorProto]()
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            continue
        if node.op_type == "DequantizeLinear":
            source = quantized.get(node.input[0])
            if source is not None:
                renamed[node.output[0]] = renamed.get(source.input[0], source.input[0])
            else:
                values = _dequantized(node, constants)
                made.append(numpy_helper.from_array(values, node.output[0]))
            continue
        kept = onnx.NodeProto.FromString(node.SerializeToString())
        kept.input[:] = [renamed.get(name, name) for name in node.input]
        nodes.append(kept)
    result: onnx.ModelProto = onnx.ModelProto.FromString(model.SerializeToString())
    used = {name for node in nodes for name in node.input}
    del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(
        tensor for tensor in (*model.graph.initializer, *made) if tensor.name in used
    )
    onnx.checker.check_model(result, full_check=True)
    return result


def _dequantized(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]
) -> NDArray[np.float32]:
    """The value of a DequantizeLinear of constants; its grid is symmetric, per tensor or axis."""
    values, scale = (numpy_helper.to_array(constants[name]) for name in node.input[:2])
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    if scale.ndim:
        scale = scale.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    plain: NDArray[np.float32] = (values.astype(np.float32) * scale).astype(np.float32)
    return plain
