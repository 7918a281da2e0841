"""A thin writer of ONNX graphs: values with shapes, constants, streams' state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_ser import __version__

__all__ = ["BATCH", "GraphWriter", "Grid", "StateTensor", "Value"]

BATCH = "streams"
"""Name of an axis of open length: how many streams a step is for."""

OPSET = 16  # every TensorRT parser since 8.4 knows it, and ONNX Runtime since 1.11
IR_VERSION = 8
_ELEMENT = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "int8": TensorProto.INT8}


@dataclass(frozen=True)
class Grid:
    """An affine 8-bit grid: ``real = (stored - zero) * scale``."""

    scale: float
    zero: int


@dataclass(frozen=True)
class Value:
    """A tensor of the graph; with a ``grid`` it holds quantized data."""

    name: str
    shape: tuple[int, ...]
    grid: Grid | None = None


@dataclass(frozen=True)
class StateTensor:
    """State that a step takes and returns, and what it holds before the stream begins.

    Attributes:
        before: what every entry holds before the stream begins, in stored units.
        ahead: entries along ``time_axis`` of the output that stand before the new state.
    """

    name: str
    next_name: str
    shape: tuple[int, ...]
    dtype: str
    before: float
    ahead: int = 0
    time_axis: int = 1


class GraphWriter:
    """Collects nodes, constants, inputs, outputs and state of one model.

    Args:
        batched: leave the axis of streams, mostly the first, open; values say 1 there.
    """

    def __init__(self, batched: bool = False) -> None:
        self._batched = batched
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._streams_axes: dict[str, int] = {}  # of states
        self.states: list[StateTensor] = []

    def input(self, name: str, shape: tuple[int, ...]) -> Value:
        """A float input."""
        self._inputs.append(self._info(name, TensorProto.FLOAT, shape))
        return Value(name, shape)

    def output(self, value: Value, name: str | None = None) -> None:
        """Make ``value`` a float output, called ``name`` where it should be called differently."""
        if name is not None:
            self.node("Identity", [value], value.shape, name)
        self._outputs.append(self._info(name or value.name, TensorProto.FLOAT, value.shape))

    def _info(
        self, name: str, element: int, shape: tuple[int, ...], streams_axis: int = 0
    ) -> onnx.ValueInfoProto:
        sizes: list[int | str] = list(shape)
        if self._batched:
            sizes[streams_axis] = BATCH
        return helper.make_tensor_value_info(name, element, sizes)

    def state(
        self,
        name: str,
        shape: tuple[int, ...],
        before: float,
        grid: Grid | None,
        streams_axis: int = 0,
    ) -> Value:
        """A state input; give its successor with :meth:`keep`."""
        dtype = "float32"
        if grid is not None:
            dtype = "uint8"
            before = float(min(max(round(before / grid.scale) + grid.zero, 0), 255))
        self._inputs.append(self._info(name, _ELEMENT[dtype], shape, streams_axis))
        self._streams_axes[name] = streams_axis
        self.states.append(StateTensor(name, f"{name}.next", shape, dtype, before))
        return Value(name, shape, grid)

    def keep(self, state: Value, joined: Value, axis: int) -> None:
        """Keep the newest part of ``joined`` along ``axis`` as the next ``state``."""
        length = state.shape[axis]
        begin = joined.shape[axis] - length
        next_name = f"{state.name}.next"
        ends = self._bounds(joined.shape[axis]), self._bounds(axis)
        self._add("Slice", [joined.name, self._bounds(begin), *ends], [next_name])
        self._finish_state(state, next_name)

    def keep_joined(self, state: Value, joined: Value, axis: int) -> None:
        """Return all of ``joined``; the next ``state`` is its newest part along ``axis``."""
        self._finish_state(state, joined.name, joined.shape[axis] - state.shape[axis], axis)

    def replace_state(self, state: Value, successor_name: str) -> None:
        """Declare the already written value ``successor_name`` as the next ``state``."""
        self._finish_state(state, successor_name)

    def _finish_state(self, state: Value, next_name: str, ahead: int = 0, axis: int = 1) -> None:
        dtype = "float32" if state.grid is None else "uint8"
        shape = list(state.shape)
        shape[axis] += ahead
        streams_axis = self._streams_axes[state.name]
        self._outputs.append(self._info(next_name, _ELEMENT[dtype], tuple(shape), streams_axis))
        for index, tensor in enumerate(self.states):
            if tensor.name == state.name:
                self.states[index] = replace(
                    tensor, next_name=next_name, ahead=ahead, time_axis=axis
                )

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """An initializer; the same name may be given again with the same content."""
        self._constants.setdefault(name, numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(
        self,
        op: str,
        inputs: Sequence[Value | str],
        shape: tuple[int, ...],
        name: str,
        *,
        grid: Grid | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> Value:
        """A node with one output called ``name``."""
        names = [item if isinstance(item, str) else item.name for item in inputs]
        self._add(op, names, [name], domain, **attributes)
        return Value(name, shape, grid)

    def reshape(self, value: Value, shape: tuple[int, ...], name: str) -> Value:
        """``value`` with another shape."""
        sizes = np.array(shape, np.int64)
        if self._batched:
            sizes[0] = 0  # as it is
        key = "shape_" + "_".join(map(str, sizes))
        return self.node("Reshape", [value, self.constant(key, sizes)], shape, name)

    def concat(self, values: Sequence[Value], axis: int, name: str) -> Value:
        """Values side by side; quantized ones must share their grid."""
        shape = list(values[0].shape)
        shape[axis] = sum(value.shape[axis] for value in values)
        return self.node("Concat", list(values), tuple(shape), name, grid=values[0].grid, axis=axis)

    def split(
        self, value: Value, sizes: Sequence[int], axis: int, parts: Sequence[str]
    ) -> list[Value]:
        """``value`` cut along ``axis`` into values called ``parts``."""
        key = self.constant("split_" + "_".join(map(str, sizes)), np.array(sizes, np.int64))
        self._add("Split", [value.name, key], list(parts), axis=axis)
        shapes = [(*value.shape[:axis], size, *value.shape[axis + 1 :]) for size in sizes]
        return [Value(part, shape, value.grid) for part, shape in zip(parts, shapes, strict=True)]

    def _bounds(self, value: int) -> str:
        return self.constant(f"index_{value}", np.array([value], np.int64))

    def _add(
        self, op: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes: Any
    ) -> None:
        self._nodes.append(
            helper.make_node(op, inputs, outputs, name=outputs[0], domain=domain, **attributes)
        )

    def model(self, name: str) -> onnx.ModelProto:
        """The finished and checked model."""
        graph = helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, list(self._constants.values())
        )
        opsets = [helper.make_opsetid("", OPSET)]
        if any(node.domain == "com.microsoft" for node in self._nodes):
            opsets.append(helper.make_opsetid("com.microsoft", 1))
        model = helper.make_model(
            graph, opset_imports=opsets, producer_name="edge-ser", producer_version=__version__
        )
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model
