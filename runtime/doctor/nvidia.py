"""Findings on JetPack, the GPU and TensorRT."""

from __future__ import annotations

from collections.abc import Iterator

from edge_ser.runtime.doctor.answers import Answers
from edge_ser.runtime.doctor.check import Check, groups_fix
from edge_ser.runtime.doctor.tree import Tree, jetpack_of

__all__ = ["gpu_checks", "jetson_checks", "tensorrt_checks"]


def jetson_checks(tree: Tree, answers: Answers) -> Iterator[Check]:
    """Which JetPack, and what its TensorRT can do."""
    if tree.l4t is None:
        return
    jetpack = jetpack_of(tree.l4t)
    detail = f"L4T {tree.l4t}, JetPack {jetpack or 'unknown'}"
    if jetpack is None:
        yield Check("jetpack", "warn", detail, "not known to this edge-ser; look for a newer one")
    elif jetpack.startswith("4"):
        yield Check(
            "jetpack", "warn", f"{detail}: its TensorRT 8.2 has no tensor-name API",
            "use --backend onnxruntime; TensorRT needs JetPack 5.1 or later, and this may be the "
            "last JetPack of this board",
        )  # fmt: skip
    elif jetpack.startswith("5"):
        yield Check(
            "jetpack", "warn", f"{detail}: TensorRT's bindings are for its Python 3.8 only",
            "build the bindings for this Python (docs/engines/jetson-xavier.md), or use "
            "--backend onnxruntime",
        )  # fmt: skip
    else:
        yield Check("jetpack", "ok", detail)


def gpu_checks(tree: Tree, answers: Answers) -> Iterator[Check]:
    """GPU, driver and CUDA."""
    gpu = answers.gpu
    if gpu.get("compute_capability"):
        driver = f", driver {tree.driver}" if tree.driver else ""
        yield Check(
            "gpu", "ok",
            f"{gpu.get('gpu')}, compute capability {gpu['compute_capability']}, CUDA "
            f"{gpu.get('driver')}{driver}",
        )  # fmt: skip
    elif not tree.has_nvidia:
        yield Check("gpu", "ok", "no NVIDIA GPU; the model runs on the CPU")
        return
    else:
        yield Check(
            "gpu", "warn", f"NVIDIA hardware that cannot be used: {gpu.get('problem')}",
            groups_fix(answers, ("video", "render")) or "install the driver and restart; in a "
            "container use --runtime nvidia or --gpus all",
        )  # fmt: skip
    cuda = tree.cuda
    if "pycuda" in answers.packages:
        yield Check("cuda", "ok", f"CUDA toolkit {cuda or 'not found'}, pycuda is installed")
    else:
        yield Check(
            "cuda", "warn", f"CUDA toolkit {cuda or 'not found'}, pycuda is missing",
            "PATH=/usr/local/cuda/bin:$PATH pip install pycuda"
            if cuda else "sudo apt install cuda-nvcc-12-6 cuda-cudart-dev-12-6 (the CUDA of your "
            "JetPack or driver), then pip install pycuda",
        )  # fmt: skip


def tensorrt_checks(tree: Tree, answers: Answers) -> Iterator[Check]:
    """Python bindings of TensorRT, and whether they fit its library."""
    if not tree.has_nvidia:
        return
    wanted = "tensorrt" if tree.l4t is not None else "tensorrt-rtx"
    for name, it in answers.bindings.items():
        if "version" in it:
            library = tree.tensorrt_library if name == "tensorrt" else None
            detail = f"{name} {it['version']}"
            if library is not None and not library.startswith(it["version"][:4].rstrip(".")):
                yield Check(
                    name, "fail", f"{detail} in Python, but the library is {library}",
                    "install the bindings of JetPack's own version: sudo apt install --reinstall "
                    "python3-libnvinfer",
                )  # fmt: skip
            else:
                yield Check(name, "ok", detail)
        elif name == wanted:
            problem = it.get("problem") or "not found"
            what, _, fix = problem.partition("; ")
            yield Check(name, "warn", what, fix or "see docs/engines")
