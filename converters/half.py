"""The step in FP16, with or without INT8 Q/DQ: what strongly typed TensorRT networks need."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["HALF_OPSET", "plain_weights", "to_half"]

HALF_OPSET = 19
"""The first opset in which scales of Q/DQ may be FP16; TensorRT 10, 11 and RTX parse it."""

_SMALLEST = np.float32(2.0**-14)
"""Smallest normal FP16 number: no scale may be below it."""
_FLOAT_PREFIX = "memory."
"""Nodes of the gated memory stay in FP32: their running sums add small shares over seconds, which
FP16 would round away."""


def _keeps_float(node: onnx.NodeProto) -> bool:
    return node.name.startswith(_FLOAT_PREFIX)


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` computed in FP16, but for the memory's running sums.

    Inputs, outputs and state stay FP32, so that every form of a pack has one contract; the
    casts merge into the neighbouring kernels. Strongly typed networks (TensorRT 10 and later,
    TensorRT for RTX) take the types of the graph as they are.

    Args:
        model: the float step, or its TensorRT INT8 form.
    """
    rewrite = _Rewrite(plain_weights(model).graph)
    for node in rewrite.source_nodes:
        rewrite.add(node, TensorProto.FLOAT if _keeps_float(node) else TensorProto.FLOAT16)
    graph = helper.make_graph(
        rewrite.nodes,
        model.graph.name,
        list(model.graph.input),
        list(model.graph.output),
        list(rewrite.constants.values()),
    )
    half = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", HALF_OPSET)],
        producer_name=model.producer_name,
        producer_version=model.producer_version,
    )
    half.ir_version = 9
    onnx.checker.check_model(half, full_check=True)
    return half


def plain_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with constants in place of casts of constants.

    Packs store float weights in FP16; TensorRT 8.5 wants a convolution's weights to be plain
    constants.
    """
    plain: onnx.ModelProto = onnx.ModelProto.FromString(model.SerializeToString())
    stored = {tensor.name: tensor for tensor in plain.graph.initializer}
    for node in [n for n in plain.graph.node if n.op_type == "Cast" and n.input[0] in stored]:
        values = numpy_helper.to_array(stored[node.input[0]])
        dtype = helper.tensor_dtype_to_np_dtype(node.attribute[0].i)
        tensor = numpy_helper.from_array(values.astype(dtype), node.output[0])
        plain.graph.initializer.append(tensor)
        plain.graph.node.remove(node)
    read = {name for node in plain.graph.node for name in node.input}
    for name, tensor in stored.items():
        if name not in read:
            plain.graph.initializer.remove(tensor)
    return plain


class _Rewrite:
    """Copies nodes in order and knows the float type of every value so far."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.source_nodes = list(graph.node)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._source = {tensor.name: tensor for tensor in graph.initializer}
        self._types = {value.name: value.type.tensor_type.elem_type for value in graph.input}
        self._outputs = {value.name for value in graph.output}
        self._cast: dict[tuple[str, int], str] = {}
        self._narrowed = _narrowed_weights(graph)

    def add(self, node: onnx.NodeProto, wanted: int) -> None:
        """A copy of ``node`` that computes in ``wanted``."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for index, name in enumerate(node.input):
            copy.input[index] = self._as(name, wanted)
        made = TensorProto.INT8 if node.op_type == "QuantizeLinear" else wanted
        tail = []
        for index, name in enumerate(node.output):
            self._types[name] = made
            if name in self._outputs and made == TensorProto.FLOAT16:
                half = f"{name}.half"
                copy.output[index] = half
                self._types[half] = made
                self._cast[name, TensorProto.FLOAT16] = half
                self._types[name] = TensorProto.FLOAT
                tail.append(helper.make_node("Cast", [half], [name], name=name, to=1))
        if copy.output[0] != node.output[0]:
            copy.name = copy.output[0]
        self.nodes += [copy, *tail]

    def _as(self, name: str, wanted: int) -> str:
        if name in self._source:
            return self._constant(name, wanted)
        have = self._types[name]
        if have not in (TensorProto.FLOAT, TensorProto.FLOAT16) or have == wanted:
            return name
        if (name, wanted) not in self._cast:
            suffix = "half" if wanted == TensorProto.FLOAT16 else "float"
            cast = f"{name}.{suffix}"
            self.nodes.append(helper.make_node("Cast", [name], [cast], name=cast, to=wanted))
            self._cast[name, wanted] = cast
            self._types[cast] = wanted
        return self._cast[name, wanted]

    def _constant(self, name: str, wanted: int) -> str:
        tensor = self._source[name]
        if tensor.data_type != TensorProto.FLOAT or wanted == TensorProto.FLOAT:
            array = self._narrowed.get(name)
            kept = tensor if array is None else numpy_helper.from_array(array, name)
            self.constants.setdefault(name, kept)
            return name
        half = f"{name}.half"
        if half not in self.constants:
            values = self._narrowed.get(name, numpy_helper.to_array(tensor))
            self.constants[half] = numpy_helper.from_array(values.astype(np.float16), half)
        return half


def _narrowed_weights(graph: onnx.GraphProto) -> dict[str, NDArray[np.generic]]:
    """Scales that FP16 holds, and the stored weights requantized where a scale had to grow."""
    arrays = {tensor.name: tensor for tensor in graph.initializer}
    changed: dict[str, NDArray[np.generic]] = {}
    for node in _with_scale(graph.node):
        scale = numpy_helper.to_array(arrays[node.input[1]])
        wide = np.maximum(scale, _SMALLEST)
        if np.array_equal(scale, wide):
            continue
        changed[node.input[1]] = wide
        if node.input[0] in arrays:
            stored = numpy_helper.to_array(arrays[node.input[0]])
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            shape = [1] * stored.ndim
            shape[axis if scale.ndim else 0] = -1
            ratio = (scale / wide).reshape(shape)
            changed[node.input[0]] = np.round(stored * ratio).astype(np.int8)
    return changed


def _with_scale(nodes: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    return [node for node in nodes if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
