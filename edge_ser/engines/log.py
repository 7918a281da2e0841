"""TensorRT's log: kept, and its riddles answered in one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["explain", "make_logger"]

_EXPLANATIONS: tuple[tuple[str, str], ...] = (
    (
        r"FP32 GEMM is not supported",
        "Turing GPUs (7.5) have no FP32 matrix products in TensorRT-RTX; use --precision fp16 "
        "or mixed, or leave 7.5 out",
    ),
    (
        r"no tactics to implement the operation within workspace limit|"
        r"Could not find any implementation for node",
        "the workspace is too small for a layer, or the layer has no kernel here; raise "
        "--workspace-mb",
    ),
    (
        r"insufficient to use tactic|out of memory|OutOfMemory|cudaErrorMemoryAllocation",
        "the GPU ran out of memory while building; stop the desktop (sudo init 3), lower "
        "--workspace-mb or --optimization-level",
    ),
    (
        r"bad_alloc",
        "the machine ran out of memory while building; stop the desktop (sudo init 3), lower "
        "--optimization-level, or add swap",
    ),
    (
        r"[Nn]on-zero zero point|zeroPt must be all zeros|shiftIsAllZeros",
        "the model is quantized asymmetrically; TensorRT needs zero points of 0 in INT8, "
        "convert it again with --targets tensorrt",
    ),
    (
        r"CUDA driver version is insufficient|cudaError 35|no CUDA-capable device",
        "no usable NVIDIA driver or GPU; on a Jetson the user must be in the group video, in a "
        "container use --runtime nvidia or --gpus all",
    ),
    (
        r"Plugin not found|No importer registered",
        "this TensorRT does not know an operator of the model",
    ),
    (
        r"must have same input types",
        "the graph mixes types, which a strongly typed network refuses",
    ),
    (
        r"expecting compute",
        "the engine was built for another GPU; build it again on this device",
    ),
    (
        r"[Vv]ersion tag does not match|incompatible serialization version|stdVersionRead",
        "the engine was built with another TensorRT; build it again",
    ),
    (r"plan\.header\.size == blobSize", "the engine is truncated; build it again"),
)


def explain(lines: Sequence[str]) -> str:
    """What the error ``lines`` of TensorRT mean and what to do, with the last of them quoted."""
    text = "\n".join(lines)
    quoted = re.sub(r"\s+", " ", lines[-1]).strip()[:300] if lines else "no error in its log"
    for pattern, meaning in _EXPLANATIONS:
        if re.search(pattern, text):
            return f"{meaning} (TensorRT: {quoted})"
    return f"TensorRT: {quoted}"


def make_logger(trt: Any, tell: Callable[[str], None]) -> Any:
    """An ``ILogger`` with ``errors``, ``warnings`` and ``layers`` of what it was told.

    It must outlive the builder, parser or runtime it is given to.

    Args:
        tell: gets every warning and error as it comes.
    """

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # skipping this crashes the process
            self.errors: list[str] = []
            self.warnings: list[str] = []
            self.layers: str = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message)
                tell(message)
            elif severity == trt.ILogger.WARNING:
                self.warnings.append(message)
            elif message.startswith("Layers:"):
                self.layers = message

    return Log()
