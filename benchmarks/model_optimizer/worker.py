"""Runs where Model Optimizer is installed, knows nothing of edge-ser: ``worker.py FOLDER``.

The folder holds ``step.onnx``, ``feeds.npz`` with all calibration steps one after the other, and
``order.json``; ``result.json`` and the quantized models are written into it.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any


def main(folder: Path) -> None:
    """Quantize as ordered; a form that fails is told, and the others go on."""
    import numpy as np
    from modelopt.onnx.quantization import quantize

    order = json.loads((folder / "order.json").read_text())
    with np.load(folder / "feeds.npz") as stored:
        feeds = dict(stored)
    found: dict[str, dict[str, Any]] = {}
    for job in order:
        began = time.monotonic()
        try:
            quantize(
                str(folder / "step.onnx"),
                quantize_mode="int8",
                calibration_data=feeds,
                calibration_method=job["method"],
                calibration_eps=["cpu"],
                high_precision_dtype=job["base"],
                output_path=str(folder / job["file"]),
                **job["options"],
            )
        except Exception as error:  # whatever it is, it is what the comparison wants to know
            found[job["file"]] = {"error": f"{type(error).__name__}: {error}"}
            continue
        found[job["file"]] = {"seconds": round(time.monotonic() - began, 1)}
    names = ("nvidia-modelopt", "onnx", "onnxruntime", "torch")
    result = {"versions": {name: version(name) for name in names}, "forms": found}
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
