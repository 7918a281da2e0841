"""Quantized convolutions as matrix products, which Turing GPUs compute in INT8.

TensorRT for RTX has INT8 matrix products for compute capability 7.5 but no INT8 convolutions: it
computes those in FP16, quantized or not, and without a word. A step has two to four output
frames, so that laying the frames under a kernel side by side costs next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

__all__ = ["unfold_convolutions"]


def unfold_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with a matrix product in place of each quantized convolution, the same numbers.

    Each group of a convolution becomes one product ``(frames, kernel * channels)`` by
    ``(kernel * channels, outputs)`` of the same stored weights, scales and activation grid.
    """
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for graph in [onnx.shape_inference.infer_shapes(model).graph]
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    unfolded: onnx.ModelProto = onnx.ModelProto.FromString(model.SerializeToString())
    maker = {name: node for node in model.graph.node for name in node.output}
    writer = _Writer({tensor.name: tensor for tensor in model.graph.initializer})
    for node in model.graph.node:
        sources = [maker.get(name) for name in node.input[:2]]
        pairs = [item for item in sources if item is not None and item.op_type.startswith("Deq")]
        if node.op_type == "Conv" and len(pairs) == 2:
            quantize = maker[pairs[0].input[0]]
            writer.convolution(_Conv.read(node), quantize, pairs[1], shapes)
        else:
            writer.nodes.append(node)
    _finish(unfolded.graph, writer)
    onnx.checker.check_model(unfolded, full_check=True)
    return unfolded


@dataclass(frozen=True)
class _Conv:
    """Name, bias and attributes of a convolution without padding."""

    name: str
    output: str
    bias: str
    groups: int
    stride: int
    dilation: int

    @classmethod
    def read(cls, node: onnx.NodeProto) -> _Conv:
        found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        return cls(
            f"{node.name}.unfolded",  # its parts are named after it
            node.output[0],
            node.input[2],
            found.get("group", 1),
            found.get("strides", [1])[0],
            found.get("dilations", [1])[0],
        )


@dataclass
class _Writer:
    """Collects the nodes and constants of the new graph."""

    constants: dict[str, onnx.TensorProto]
    nodes: list[onnx.NodeProto] = field(default_factory=list)

    def convolution(
        self,
        conv: _Conv,
        quantize: onnx.NodeProto,
        weight: onnx.NodeProto,
        shapes: dict[str, list[int]],
    ) -> None:
        """``conv`` of the float input of ``quantize`` with the stored ``weight``."""
        stored = numpy_helper.to_array(self.constants[weight.input[0]])
        scales = numpy_helper.to_array(self.constants[weight.input[1]])
        frames = shapes[conv.output][2]
        outputs = []
        for group in range(conv.groups):
            name = conv.name if conv.groups == 1 else f"{conv.name}.group{group}"
            rows = slice(*(len(stored) * (group + i) // conv.groups for i in range(2)))
            columns = self._columns(conv, name, quantize.input[0], group, stored.shape, frames)
            columns = self._pair(columns, list(quantize.input[1:3]))
            matrix = self._matrix(name, stored[rows], scales[rows])
            outputs.append(self._node("MatMul", [columns, matrix], f"{name}.product"))
        joined = outputs[0]
        if conv.groups > 1:
            joined = self._node("Concat", outputs, f"{conv.name}.products", axis=1)
        biased = self._node("Add", [joined, conv.bias], f"{conv.name}.biased")
        turned = self._node("Transpose", [biased], f"{conv.name}.turned", perm=[1, 0])
        shape = self._ints(f"{conv.name}.shape", 1, len(stored), frames)
        self._node("Reshape", [turned, shape], conv.output)

    def _columns(
        self, conv: _Conv, name: str, x: str, group: int, shape: tuple[int, ...], frames: int
    ) -> str:
        """The frames under the kernel, ``(frames, kernel * channels)``."""
        _, channels, kernel = shape
        taps = []
        for tap in range(kernel):
            begin = tap * conv.dilation
            part = f"{name}.tap{tap}"
            bounds = (
                (group * channels, begin),
                ((group + 1) * channels, begin + (frames - 1) * conv.stride + 1),
                (1, 2),
                (1, conv.stride),
            )
            keys = [self._ints(f"{part}.{i}", *values) for i, values in enumerate(bounds)]
            taps.append(self._node("Slice", [x, *keys], part))
        if kernel > 1:
            taps = [self._node("Concat", taps, f"{name}.taps", axis=1)]
        turned = self._node("Transpose", taps, f"{name}.frames", perm=[0, 2, 1])
        flat = self._ints(f"{name}.flat", frames, kernel * channels)
        return self._node("Reshape", [turned, flat], f"{name}.columns")

    def _pair(self, x: str, grid: list[str]) -> str:
        stored = self._node("QuantizeLinear", [x, *grid], f"{x}.q")
        return self._node("DequantizeLinear", [stored, *grid], f"{x}.dq")

    def _matrix(self, name: str, stored: NDArray[np.int8], scales: NDArray[np.float32]) -> str:
        """The weight of one group, ``(kernel * channels, outputs)``, scaled per output."""
        turned = np.ascontiguousarray(stored.transpose(2, 1, 0).reshape(-1, len(stored)))
        inputs = [
            self._constant(f"{name}.matrix.stored", turned),
            self._constant(f"{name}.matrix.scale", scales),
            self._constant(f"{name}.matrix.zero", np.zeros(len(scales), np.int8)),
        ]
        return self._node("DequantizeLinear", inputs, f"{name}.matrix", axis=1)

    def _node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def _ints(self, name: str, *values: int) -> str:
        return self._constant(name, np.array(values, np.int64))

    def _constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.constants[name] = numpy_helper.from_array(value, name)
        return name


def _finish(graph: onnx.GraphProto, writer: _Writer) -> None:
    """Put what ``writer`` has into ``graph``, without what nobody reads any more."""
    outputs = {value.name for value in graph.output}
    nodes = writer.nodes
    while True:
        read = outputs.union(*(node.input for node in nodes))
        alive = [node for node in nodes if read.intersection(node.output)]
        if len(alive) == len(nodes):
            break
        nodes = alive
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(t for name, t in writer.constants.items() if name in read)
