"""Model Optimizer in the environment where it is installed, called as a program."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_ser.errors import InputError

__all__ = ["JOBS", "Job", "Quantized", "quantize_there"]

_WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class Job:
    """One way of quantizing.

    Attributes:
        method: of finding ranges, ``max`` or ``entropy``.
        base: of what is not INT8, ``fp32`` or ``fp16``.
        options: more arguments of ``modelopt.onnx.quantization.quantize``.
    """

    name: str
    method: str
    base: str
    options: Mapping[str, Any] = field(default_factory=dict)


JOBS = (
    Job("Model Optimizer, max, fp32", "max", "fp32"),
    Job("Model Optimizer, max, fp16", "max", "fp16"),
    Job("Model Optimizer, entropy, fp32", "entropy", "fp32"),
    # As near to edge-ser's form as its arguments allow.
    Job(
        "Model Optimizer, max, fp32, products only, INT8 weights",
        "max",
        "fp32",
        {"op_types_to_quantize": ["Conv", "MatMul", "Gemm"], "dq_only": True},
    ),
)


@dataclass(frozen=True)
class Quantized:
    """What came of a job.

    Attributes:
        model: None if it failed.
        error: why; empty if it did not.
    """

    job: Job
    model: onnx.ModelProto | None
    error: str


def quantize_there(
    python: Path,
    folder: Path,
    step: onnx.ModelProto,
    feeds: Mapping[str, NDArray[Any]],
    jobs: Sequence[Job] = JOBS,
) -> tuple[list[Quantized], dict[str, str]]:
    """Quantize ``step`` with the Model Optimizer of another Python.

    Args:
        python: that Python.
        folder: an empty one to work in.
        feeds: per input of ``step`` its values in all calibration steps, joined on axis 0.

    Returns:
        The outcome of every job, and the versions of what did it.

    Raises:
        InputError: it cannot be run there.
    """
    (folder / "step.onnx").write_bytes(step.SerializeToString())
    np.savez(folder / "feeds.npz", **feeds)
    order = [{**asdict(job), "file": f"form{index}.onnx"} for index, job in enumerate(jobs)]
    (folder / "order.json").write_text(json.dumps(order))
    try:
        done = subprocess.run(
            [str(python), "-I", str(_WORKER), str(folder)],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
        )
    except OSError as error:
        raise InputError(f"--optimizer {python} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise InputError(
            f"--optimizer {python}: Model Optimizer does not run there ({last}); install it as "
            "`python -m benchmarks.model_optimizer --help` shows"
        )
    result = json.loads((folder / "result.json").read_text())
    forms = []
    for job, item in zip(jobs, order, strict=True):
        refusal = result["forms"][item["file"]].get("error", "")
        model = None if refusal else onnx.load(folder / str(item["file"]))
        forms.append(Quantized(job, model, refusal))
    return forms, result["versions"]
