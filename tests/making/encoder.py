"""A small waveform encoder as an ONNX file."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def waveform_model(path: Path) -> Path:
    """Frames of 400 samples to 8 values, then two blocks that each begin with a layer norm."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    stored = {
        "kernel": rng.standard_normal((8, 1, 400)).astype(np.float32) * 0.05,
        "axis": np.array([1], np.int64),
        "ones": np.ones(8, np.float32),
        "zeros": np.zeros(8, np.float32),
        "w0": rng.standard_normal((8, 8)).astype(np.float32),
        "w1": rng.standard_normal((8, 8)).astype(np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Unsqueeze", ["input_values", "axis"], ["wave"]),
        node("Conv", ["wave", "kernel"], ["conv"], strides=[320]),
        node("Transpose", ["conv"], ["x0"], perm=[0, 2, 1]),
    ]
    for i in (0, 1):
        norm = f"/layers.{i}/input_layernorm/LayerNormalization_output_0"
        nodes += [
            node("LayerNormalization", [f"x{i}", "ones", "zeros"], [norm]),
            node("MatMul", [norm, f"w{i}"], [f"y{i}"]),
            node("Add", [f"x{i}", f"y{i}"], [f"x{i + 1}" if i == 0 else "last_hidden_state"]),
        ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("input_values", TensorProto.FLOAT, ["b", "n"])],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["b", "t", 8])],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path
