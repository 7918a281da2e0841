"""What a converted pack says of itself, and the vectors that prove it on a device."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_ser import __version__
from edge_ser.converters.request import Request
from edge_ser.converters.step_graph import StepModel, state_specs
from edge_ser.converters.stepping import logits_of
from edge_ser.models.checkpoint import Checkpoint
from edge_ser.pack import Calibration, Manifest, Target

__all__ = ["golden_vectors", "manifest_of"]

_GOLDEN_STEPS = 25


def golden_vectors(
    models: Mapping[str, StepModel], mel: NDArray[np.float32], step_frames: int
) -> bytes:
    """Input frames and the logits each model gives, so that a device can prove parity."""
    steps = min(_GOLDEN_STEPS, mel.shape[1] // step_frames)
    # Golden vectors travel with the pack; noise of the same statistics stands in for speech,
    # so that no recording of a corpus does.
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((mel.shape[0], steps * step_frames))
    frames = (noise * mel.std(axis=1, keepdims=True) + mel.mean(axis=1, keepdims=True)).astype(
        np.float32
    )
    arrays = {"mel": frames.astype(np.float16)}
    for name, model in models.items():
        arrays[f"logits.{name}"] = logits_of(
            model, [arrays["mel"].astype(np.float32)], step_frames
        )[0]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def manifest_of(
    checkpoint: Checkpoint,
    request: Request,
    models: Mapping[str, StepModel],
    cpu_precision: str,
    calibration: Calibration,
    report: dict[str, Any],
) -> Manifest:
    """The manifest of a pack of ``models``.

    Args:
        cpu_precision: of the model for CPUs.
    """
    training = checkpoint.training
    corpora = training.get("corpora", {})
    kinds = {
        "cpu": (("onnxruntime",), cpu_precision),
        "tensorrt": (("tensorrt", "tensorrt-rtx"), "int8"),
        # TensorRT's float form runs on CPUs as well; a pack holds float weights once.
        "tensorrt-float": (
            ("tensorrt", "tensorrt-rtx") + (() if "float" in models else ("onnxruntime",)),
            "fp32",
        ),
        "float": (("onnxruntime", "tensorrt", "tensorrt-rtx"), "fp32"),
    }
    labels = checkpoint.student.config.labels
    return Manifest(
        id=request.pack_id,
        version=request.version,
        description=f"Streaming student, {len(labels)} emotions, "
        f"{checkpoint.frontend.step_ms:g} ms steps",
        labels=labels,
        frontend=checkpoint.frontend,
        targets={
            name: Target(f"model.{name}.onnx", *kinds[name], states=state_specs(model))
            for name, model in models.items()
        },
        calibration=calibration,
        metrics={"parity": report["parity"], "precision": report["precision"], **request.metrics},
        licences={name: facts["licence"] for name, facts in corpora.items()},
        commercial_use=bool(corpora) and all(facts["commercial"] for facts in corpora.values()),
        training={
            "protocol": training.get("protocol"),
            "train_speakers": training.get("train_speakers", []),
            "test_speakers": training.get("test_speakers", []),
            "corpora": corpora,
            "teacher": training.get("teacher"),
            "recipe": training.get("recipe"),
            "parameters": sum(p.numel() for p in checkpoint.student.parameters()),
            "depth_weights": [
                round(float(weight), 4) for weight in checkpoint.student.depth_weights().detach()
            ],
            "edge_ser": __version__,
            "onnx": onnx.__version__,
        },
    )
