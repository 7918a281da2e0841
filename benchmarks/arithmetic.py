"""How far a step is from the arithmetic it does, and where the rest goes.

``python -m benchmarks.arithmetic`` counts the multiply-adds of a step, measures the peak of an
INT8 matrix product on this machine (ONNX Runtime, one thread), once at the size of several where
it is best and once with the two rows that the products of a step have, and sets a measured step
beside it.
Needs the convert extra.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from typing import Any

import numpy as np

from edge_ser.errors import EdgeSerError, MissingExtra
from edge_ser.pack import Pack
from edge_ser.runtime import Recognizer
from edge_ser.runtime.bench import bench_audio, fingerprint, single_stream
from edge_ser.runtime.bench.summary import milliseconds

__all__ = ["best_peak", "count_products", "peak"]

# What fits a cache beats what does not, and the shorter a call, the less disturbs it.
_SIZES = ((32, 256, 256), (128, 512, 512), (256, 1024, 1024))
_ROWS = 2


def count_products(pack: Pack) -> dict[str, int]:
    """Multiply-adds of one step by operator, from the pack's float or TensorRT model.

    Raises:
        BackendError: the pack has neither.
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtra("onnx", "convert", "count the products of a model") from None
    from edge_ser.converters.engine.variants import Variant, stored_model

    _, model = stored_model(pack, "tensorrt", Variant("fp32", "fp32"))
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    sizes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    sizes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    found: dict[str, int] = {}
    for node in graph.node:
        if node.op_type == "Conv":
            per_output = math.prod(sizes[node.input[1]][1:])
        elif node.op_type in ("MatMul", "Gemm"):
            per_output = sizes[node.input[0]][-1]
        else:
            continue
        n = math.prod(sizes[node.output[0]]) * per_output
        found[node.op_type] = found.get(node.op_type, 0) + n
    return found


def peak(rows: int, depth: int, columns: int, seconds: float = 2.0) -> dict[str, Any]:
    """Billions of multiply-adds a second of a ``uint8 @ int8`` product, best and median."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weight = rng.integers(-63, 64, (depth, columns)).astype(np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [rows, depth])],
        [helper.make_tensor_value_info("c", TensorProto.INT32, [rows, columns])],
        [numpy_helper.from_array(weight, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    a = rng.integers(0, 256, (rows, depth)).astype(np.uint8)
    c = np.zeros((rows, columns), np.int32)
    binding = session.io_binding()
    binding.bind_input("a", "cpu", 0, np.uint8, a.shape, a.ctypes.data)
    binding.bind_output("c", "cpu", 0, np.int32, c.shape, c.ctypes.data)
    taken = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(taken) < 20:
        begin = time.perf_counter_ns()
        session.run_with_iobinding(binding)
        taken.append(time.perf_counter_ns() - begin)
    n = rows * depth * columns
    return {
        "shape": [rows, depth, columns],
        "best_gmac_s": round(n / min(taken), 2),
        "median_gmac_s": round(n / float(np.median(taken)), 2),
    }


def best_peak(seconds: float = 1.0) -> dict[str, Any]:
    """The :func:`peak` of the size at which the product is fastest."""
    return max((peak(*size, seconds) for size in _SIZES), key=lambda found: found["best_gmac_s"])


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.arithmetic", description=__doc__)
    parser.add_argument("--pack", help="pack (default: the bundled pack)")
    parser.add_argument("--seconds", type=float, default=40.0, help="of audio (default: 40)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        recognizer = Recognizer.open(options.pack)
        products = count_products(recognizer.pack)
        audio = bench_audio(None, recognizer.rate_hz)
        pcm = audio.take(round(options.seconds * recognizer.rate_hz), 0)
        times = single_stream(recognizer, pcm)
    except EdgeSerError as error:
        print(f"benchmarks.arithmetic: {error}", file=sys.stderr)
        return error.exit_status
    total = sum(products.values())
    best, thin = best_peak(), peak(_ROWS, 1024, 1024)
    stages = {name: milliseconds(t, ("p50",))["p50"] for name, t in times.stage_ns.items()}
    document = {
        "schema": "edge-ser.arithmetic/1",
        "pack": recognizer.manifest.name,
        "precision": recognizer.engine.precision,
        "multiply_adds_per_step": {**products, "all": total},
        "int8_product": best,
        "int8_product_of_two_rows": thin,
        "limit_us": round(total / best["best_gmac_s"] / 1e3, 2),
        "limit_two_rows_us": round(total / thin["best_gmac_s"] / 1e3, 2),
        "step_us": round(1e3 * milliseconds(times.step_ns, ("p50",))["p50"], 1),
        "stages_us": {name: round(1e3 * value, 1) for name, value in stages.items()},
        "machine": fingerprint(),
    }
    if options.json:
        print(json.dumps(document, indent=1))
        return 0
    step, infer = document["step_us"], document["stages_us"]["infer"]
    print(f"{total / 1e6:.2f} million multiply-adds a step ({document['pack']})")
    for text, what, limit in (
        ("at its best", best, document["limit_us"]),
        ("two rows high", thin, document["limit_two_rows_us"]),
    ):
        shape = " x ".join(map(str, what["shape"]))
        print(
            f"INT8 product {text} ({shape}): {what['best_gmac_s']:.0f} billion a second; "
            f"at that rate a step's products take {limit:.1f} us"
        )
    print(f"a step takes {step:.0f} us at the median, the model {infer:.0f} us of it")
    print("  " + ", ".join(f"{name} {us:.0f} us" for name, us in document["stages_us"].items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
