"""Take out of an installation what the runtime never opens.

``python -m edge_ser.bundle.lean SITE_PACKAGES``; nothing that edge-ser imports is touched, and
``edge-ser run demo`` afterwards shows it.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

__all__ = ["UNUSED", "make_lean"]

UNUSED = {
    "onnxruntime/capi/libonnxruntime.so*": "for C programs; the Python module has it built in",
    "onnxruntime/capi/libonnxruntime.*.so*": "the same under its other name",
    "onnxruntime/transformers": "optimising models on a host",
    "onnxruntime/quantization": "quantizing models on a host",
    "onnxruntime/tools": "converting models on a host",
    "onnxruntime/datasets": "example models",
    "numpy/**/tests": "numpy's own tests",
    "numpy/_core/include": "headers for C programs",
    "numpy/_core/lib/*.a": "libraries for C programs",
    "numpy/random/lib/*.a": "libraries for C programs",
    "numpy/f2py": "a compiler of Fortran modules",
    "**/*.pyi": "type hints for editors",
    "**/*.px[dy]": "sources for Cython programs",
    "edge_ser/training": "training on a host",
    "edge_ser/models": "the same",
    "**/__pycache__": "bytecode of what is gone; the installer compiles the rest anew",
}
"""Patterns below site-packages, each with what it is."""

_KEPT_BY = {  # a package that needs what a pattern names keeps it
    "edge_ser/training": "torch",
    "edge_ser/models": "torch",
    # The ranges of a build's parity check are quantization's, which imports the other two.
    "onnxruntime/quantization": "onnx",
    "onnxruntime/tools": "onnx",
    "onnxruntime/transformers": "onnx",
}


def make_lean(site: Path) -> int:
    """Delete what ``UNUSED`` names below ``site``.

    Returns:
        bytes that became free.
    """
    freed = 0
    for pattern in UNUSED:
        owner = _KEPT_BY.get(pattern)
        if owner is not None and (site / owner).is_dir():
            continue
        for path in sorted(site.glob(pattern)):
            if path.is_dir():
                freed += sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
                shutil.rmtree(path)
            elif path.exists():
                freed += path.stat().st_size
                path.unlink()
    return freed


if __name__ == "__main__":
    sys.stdout.write(f"{make_lean(Path(sys.argv[1])) / 1e6:.0f} MB taken out\n")
