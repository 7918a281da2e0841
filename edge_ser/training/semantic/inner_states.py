"""Make the states between the blocks of an encoder file outputs of the model."""

from __future__ import annotations

import re
import struct
from typing import Any

from edge_ser.errors import InputError, MissingExtra

__all__ = ["with_inner_states"]

_BLOCK_NORM = re.compile(r"layers?[./]\d+[./](input_layernorm|self_attn_layer_norm|layer_norm1?)/")


def with_inner_states(content: bytes, suffix: str) -> tuple[bytes, list[str]]:
    """The model with an output for each state that enters a transformer block.

    Args:
        content: bytes of the file.
        suffix: ``.ort`` or ``.onnx``.

    Returns:
        The changed model, and the names of the added outputs in the order of the blocks;
        none are added where no layer norm at the entry of a block is found.
    """
    return _in_ort(content) if suffix == ".ort" else _in_onnx(content)


def _entries(nodes: list[tuple[str, list[str], list[str]]]) -> list[str]:
    """First inputs of the layer norms that open a block, of ``(type, inputs, outputs)``."""
    found = [
        inputs[0]
        for kind, inputs, outputs in nodes
        if "LayerNormalization" in kind and _BLOCK_NORM.search(outputs[0])
    ]
    return list(dict.fromkeys(found))


def _in_onnx(content: bytes) -> tuple[bytes, list[str]]:
    try:
        import onnx
    except ImportError:
        raise MissingExtra("onnx", "semantic", "read an encoder from a .onnx file") from None
    model = onnx.load_from_string(content)
    nodes = [(n.op_type, list(n.input), list(n.output)) for n in model.graph.node]
    present = {output.name for output in model.graph.output}
    names = [name for name in _entries(nodes) if name not in present]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return model.SerializeToString(), names


def _in_ort(content: bytes) -> tuple[bytes, list[str]]:
    """Append a longer list of outputs to the flatbuffer and let the graph point to it.

    Flatbuffer offsets point forward only, so what is appended can be reached from any
    table and nothing else has to move.
    """
    # These classes come with onnxruntime and follow its own schema; importing its tools imports
    # onnx, which it does not bring along.
    try:
        from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs import (
            InferenceSession as schema,
        )
    except ImportError:
        raise MissingExtra("onnx", "semantic", "read an encoder from a .ort file") from None

    if content[4:8] != b"ORTM":
        raise InputError("not an ORT model: the file does not start as one")
    graph: Any = schema.InferenceSession.GetRootAsInferenceSession(content, 0).Model().Graph()
    nodes = []
    for index in range(graph.NodesLength()):
        node = graph.Nodes(index)
        nodes.append(
            (
                node.OpType().decode(),
                [node.Inputs(i).decode() for i in range(node.InputsLength())],
                [node.Outputs(i).decode() for i in range(node.OutputsLength())],
            )
        )
    outputs = [graph.Outputs(i).decode() for i in range(graph.OutputsLength())]
    names = [name for name in _entries(nodes) if name not in outputs]
    changed = bytearray(content)
    changed.extend(b"\0" * (-len(changed) % 4))
    listed = len(changed)
    every = [*outputs, *names]
    changed.extend(struct.pack("<I", len(every)) + b"\0" * 4 * len(every))
    for index, name in enumerate(every):
        slot = listed + 4 + 4 * index
        struct.pack_into("<I", changed, slot, len(changed) - slot)
        text = name.encode()
        changed.extend(struct.pack("<I", len(text)) + text + b"\0")
        changed.extend(b"\0" * (-len(changed) % 4))
    field = graph._tab.Pos + graph._tab.Offset(_OUTPUTS_SLOT)
    struct.pack_into("<I", changed, field, listed - field)
    return bytes(changed), names


_OUTPUTS_SLOT = 16  # vtable offset of Graph.outputs, checked when the names are read back
