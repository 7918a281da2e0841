"""Three ways to make the log-mel frames of a step, in turn: numpy, Kaldi's, inside the graph.

``python -m benchmarks.frontend`` prints a table, ``--json`` the numbers.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from edge_ser.errors import EdgeSerError, MissingExtra
from edge_ser.frontend import LogMel, LogMelSpec, mel_filterbank
from edge_ser.runtime.bench import bench_audio, fingerprint
from edge_ser.runtime.bench.ratios import block_ratios
from edge_ser.runtime.bench.summary import milliseconds

__all__ = ["compare_front_ends", "graph_front_end", "kaldi_front_end", "numpy_front_end"]

Step = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def numpy_front_end(spec: LogMelSpec) -> Step:
    """``edge_ser.frontend``: ``(step_samples,)`` to ``(n_mels, step_frames)``."""
    stream = LogMel(spec).stream()
    out = np.empty((spec.n_mels, spec.step_frames), np.float32)

    def step(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        stream.step(samples, out=out)
        return out

    return step


def kaldi_front_end(spec: LogMelSpec) -> Step:
    """kaldi-native-fbank with the same filters; its frames are not divided by a level."""
    try:
        import kaldi_native_fbank
    except ImportError:
        raise MissingExtra("kaldi-native-fbank", "bench", "compare front ends") from None

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = spec.rate_hz
    options.frame_opts.frame_length_ms = 1000 * spec.window / spec.rate_hz
    options.frame_opts.frame_shift_ms = 1000 * spec.hop / spec.rate_hz
    options.frame_opts.window_type = "hanning"
    options.frame_opts.preemph_coeff = 0.0
    options.frame_opts.remove_dc_offset = False
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = spec.n_mels
    options.mel_opts.low_freq = spec.low_hz
    options.mel_opts.high_freq = spec.high_hz
    options.use_energy = False
    fbank = kaldi_native_fbank.OnlineFbank(options)
    fbank.accept_waveform(spec.rate_hz, np.zeros(spec.history, np.float32))
    out = np.empty((spec.n_mels, spec.step_frames), np.float32)

    def step(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        ready = fbank.num_frames_ready
        fbank.accept_waveform(spec.rate_hz, samples)
        for index in range(spec.step_frames):
            out[:, index] = fbank.get_frame(ready + index)
        fbank.pop(spec.step_frames)  # otherwise it keeps every frame
        return out

    return step


def graph_front_end(spec: LogMelSpec) -> Step:
    """The same numbers from one ONNX model: windows, DFT as a matrix product, mel, level, log."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        graph_model(spec), options, providers=["CPUExecutionProvider"]
    )
    buffer = np.zeros(spec.history + spec.step_samples, np.float32)
    stride = buffer.strides[0]
    windows = as_strided(
        buffer, (spec.step_frames, spec.window), (spec.hop * stride, stride), writeable=False
    )
    level = np.full((1, 1), spec.level_floor, np.float32)

    def step(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        nonlocal level
        buffer[: spec.history] = buffer[spec.step_samples :]
        buffer[spec.history :] = samples
        mel: NDArray[np.float32]
        mel, level = session.run(None, {"windows": windows, "level": level})
        return mel

    return step


def graph_model(spec: LogMelSpec) -> bytes:
    """The ONNX model of :func:`graph_front_end`."""
    from onnx import TensorProto, helper, numpy_helper

    bins = np.arange(spec.n_fft // 2 + 1)
    angles = 2 * np.pi * np.outer(np.arange(spec.window), bins) / spec.n_fft
    window = np.hanning(spec.window)[:, None]
    basis = np.concatenate([np.cos(angles) * window, np.sin(angles) * window], axis=1)
    filters = np.tile(mel_filterbank(spec), (1, 2)).T
    constants = {
        "basis": basis,
        "filters": filters,
        "keep": np.array(spec.level_keep),
        "least": np.array(spec.level_floor),
        "floor": np.array(spec.floor),
    }
    nodes = [
        helper.make_node("MatMul", ["windows", "basis"], ["spectrum"]),
        helper.make_node("Mul", ["spectrum", "spectrum"], ["squares"]),
        helper.make_node("MatMul", ["squares", "filters"], ["power"]),
        helper.make_node("ReduceMean", ["power"], ["loudness"], keepdims=1),
        helper.make_node("Mul", ["level", "keep"], ["faded"]),
        helper.make_node("Max", ["faded", "loudness", "least"], ["level.next"]),
        helper.make_node("Div", ["power", "level.next"], ["levelled"]),
        helper.make_node("Add", ["levelled", "floor"], ["raised"]),
        helper.make_node("Log", ["raised"], ["log"]),
        helper.make_node("Transpose", ["log"], ["mel"], perm=[1, 0]),
    ]

    def value(name: str, *shape: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "frontend",
        [value("windows", spec.step_frames, spec.window), value("level", 1, 1)],
        [value("mel", spec.n_mels, spec.step_frames), value("level.next", 1, 1)],
        [numpy_helper.from_array(a.astype(np.float32), name) for name, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def compare_front_ends(
    pcm: NDArray[np.float32], *, block_steps: int = 25, seed: int = 0
) -> dict[str, Any]:
    """Run all three over ``pcm``, a block of steps each in turn.

    Returns:
        JSON-ready: milliseconds a step, and the ratio to numpy's over blocks.
    """
    spec = LogMelSpec()
    ways = {
        "numpy": (numpy_front_end(spec), f"edge_ser.frontend, numpy {version('numpy')}"),
        "kaldi": (
            kaldi_front_end(spec),
            f"kaldi-native-fbank {version('kaldi-native-fbank')}, not levelled",
        ),
        "in-graph": (graph_front_end(spec), f"onnxruntime {version('onnxruntime')}, 1 thread"),
    }
    size = spec.step_samples
    blocks = len(pcm) // size // block_steps
    taken = {name: np.zeros((blocks, block_steps), np.int64) for name in ways}
    rng = np.random.default_rng(seed)
    names = list(ways)
    for block in range(-1, blocks):  # block -1 warms up
        start = max(block, 0) * block_steps
        for index in rng.permutation(len(names)).tolist():
            step = ways[names[index]][0]
            for i in range(block_steps):
                samples = pcm[(start + i) * size : (start + i + 1) * size]
                begin = time.perf_counter_ns()
                step(samples)
                duration = time.perf_counter_ns() - begin
                if block >= 0:
                    taken[names[index]][block, i] = duration
    base = np.median(taken["numpy"], axis=1)
    return {
        "step_ms": spec.step_ms,
        "blocks": blocks,
        "block_steps": block_steps,
        "seed": seed,
        "ways": {
            name: {
                "what": ways[name][1],
                "ms": milliseconds(times.ravel(), ("p50", "p90", "p99")),
                "ratio_to_numpy": block_ratios(base, np.median(times, axis=1), seed),
            }
            for name, times in taken.items()
        },
        "machine": fingerprint(),
    }


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frontend", description=__doc__)
    parser.add_argument("--input", type=Path, help="audio (default: the bundled sample)")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.seconds < 8:
        parser.error("at least 8 seconds are needed, four blocks of 25 steps")
    try:
        audio = bench_audio(options.input, LogMelSpec().rate_hz)
        pcm = audio.take(round(options.seconds * audio.rate_hz), options.seed)
        document = compare_front_ends(pcm.astype(np.float32) / np.float32(32768), seed=options.seed)
    except EdgeSerError as error:
        print(f"benchmarks.frontend: {error}", file=sys.stderr)
        return error.exit_status
    if options.json:
        print(json.dumps(document, indent=1))
        return 0
    print(f"{'log-mel of 80 ms':<12}      median       p90       p99   times numpy's (95 %)")
    for name, way in document["ways"].items():
        ms, ratio = way["ms"], way["ratio_to_numpy"]
        low, high = ratio["interval_95"]
        print(
            f"  {name:<12}{ms['p50']:>10.4f}{ms['p90']:>10.4f}{ms['p99']:>10.4f} ms"
            f"   {ratio['median']:.2f} ({low:.2f} to {high:.2f})   {way['what']}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
