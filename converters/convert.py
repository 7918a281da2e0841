"""Checkpoint to pack: export, calibrate, quantize, check each against the last, write."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from edge_ser import __version__
from edge_ser.audio import load_mono
from edge_ser.calibration import FloatStepper, RangeReport, activation_ranges, choose_clips
from edge_ser.converters.card import model_card
from edge_ser.converters.cpu_step import build_cpu_step
from edge_ser.converters.forms import (
    FloatForm,
    Range,
    quantizable,
)
from edge_ser.converters.half import to_half
from edge_ser.converters.step_graph import StepModel, build_step
from edge_ser.converters.tensorrt_steps import tensorrt_float_step, tensorrt_step
from edge_ser.converters.weights import StepWeights, fold_student
from edge_ser.corpora import Clip
from edge_ser.errors import GateMissed, InputError
from edge_ser.frontend import LogMel
from edge_ser.models.checkpoint import Checkpoint
from edge_ser.pack import Calibration, Manifest, StateSpec, Target, write_pack
from edge_ser.parity import Gates, compare, missed_gates

__all__ = ["Request", "convert"]

_TORCH_TOLERANCE = 1e-4
_GOLDEN_STEPS = 25


@dataclass(frozen=True)
class Request:
    """What to convert to what.

    Attributes:
        clips: labelled clips to calibrate and compare on, of the checkpoint's labels.
        targets: of ``cpu``, ``tensorrt``, ``tensorrt-float`` and ``float``.
        n_calibration: clips that ranges are measured on; others serve for the parity report.
    """

    pack_id: str
    version: str
    clips: Sequence[Clip]
    targets: tuple[str, ...] = ("cpu", "tensorrt", "float")
    method: str = "minmax"
    n_calibration: int = 96
    n_parity: int = 240
    seed: int = 0
    gates: Gates = field(default_factory=Gates)
    metrics: dict[str, Any] = field(default_factory=dict)


def convert(
    checkpoint: Checkpoint,
    request: Request,
    out: Path,
    *,
    ignore_gates: bool = False,
    say: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Write the pack ``out`` and return the conversion report, JSON-ready.

    Raises:
        InputError: the clips cannot serve (none, one label, speakers of the test set).
        GateMissed: a form differs too much from the one before it; nothing was written.
    """
    _refuse_test_speakers(checkpoint, request.clips)
    calibration_clips = choose_clips(request.clips, request.n_calibration, request.seed)
    used = set(calibration_clips)
    parity_clips = choose_clips(
        [clip for clip in request.clips if clip not in used] or request.clips,
        request.n_parity,
        request.seed + 1,
    )
    front_end = LogMel(checkpoint.frontend)
    config = checkpoint.student.config
    say(f"reading {len(calibration_clips)} + {len(parity_clips)} clips")
    calibration_mels = [_mel(front_end, clip) for clip in calibration_clips]
    parity_mels = [_mel(front_end, clip) for clip in parity_clips]

    weights = fold_student(checkpoint.student)
    reference = build_step(weights, FloatForm())
    say("checking the float graph against torch")
    torch_error = _check_against_torch(checkpoint, reference, parity_mels[:8])
    ranges: RangeReport | None = None
    if {"cpu", "tensorrt"} & set(request.targets):
        say(f"measuring activation ranges ({request.method})")
        ranges = activation_ranges(
            reference.onnx,
            state_specs(reference),
            quantizable(weights),
            calibration_mels,
            config.step_frames,
            request.method,
        )
        if ranges.clips != len(calibration_clips):
            raise InputError(f"only {ranges.clips} of {len(calibration_clips)} clips were run")
    spans = {key: Range(*span) for key, span in ranges.ranges.items()} if ranges else {}
    models = {name: _step(name, weights, spans) for name in request.targets}

    truth = [config.labels.index(clip.label) for clip in parity_clips]
    expected = _logits(reference, parity_mels, config.step_frames)
    report: dict[str, Any] = {
        "checkpoint_error_vs_torch": torch_error,
        "calibration": {
            "method": request.method,
            "clips": len(calibration_clips),
            "steps": ranges.steps if ranges else 0,
            "ranges": {k: list(v) for k, v in ranges.ranges.items()} if ranges else {},
        },
        "parity": {},
    }
    temperature = Calibration(**(checkpoint.training.get("calibration") or {}))
    missed: list[str] = []
    for name, model in (models | _half_steps(models)).items():
        say(f"parity of {name} on {len(parity_clips)} clips")
        got = _logits(model, parity_mels, config.step_frames, as_written=name != "cpu")
        parity = compare(expected, got, truth, config.labels, temperature.temperature)
        report["parity"][name] = parity.to_dict()
        missed += missed_gates(name, parity, request.gates)
    if missed and not ignore_gates:
        raise GateMissed(
            f"{'; '.join(missed)}; no pack was written. Try another --calibration-method or more "
            "calibration clips, or write it all the same with --ignore-gates"
        )
    report["gates_missed"] = missed
    manifest = _manifest(checkpoint, request, models, temperature, report)
    files = {f"model.{name}.onnx": model.onnx.SerializeToString() for name, model in models.items()}
    files["golden.npz"] = _golden(models, parity_mels[0], config.step_frames)
    files["report.json"] = (json.dumps(report, indent=1) + "\n").encode()
    files["model-card.md"] = model_card(manifest, report).encode()
    write_pack(manifest, files, out)
    return report


def _step(target: str, weights: StepWeights, ranges: Mapping[str, Range]) -> StepModel:
    if target == "cpu":
        return build_cpu_step(weights, ranges)
    if target == "tensorrt":
        return tensorrt_step(weights, ranges)
    if target == "tensorrt-float":
        return tensorrt_float_step(weights)
    return build_step(weights, FloatForm(half_weights=True))


def state_specs(model: StepModel) -> tuple[StateSpec, ...]:
    """The states of ``model`` as a pack describes them."""
    return tuple(
        StateSpec(
            state.name,
            state.next_name,
            state.shape,
            state.dtype,
            state.before,
            state.ahead,
            state.time_axis,
        )
        for state in model.states
    )


def _half_steps(models: dict[str, StepModel]) -> dict[str, StepModel]:
    """The FP16 networks that engines will be built from; the pack does not store them."""
    return {
        f"{name}+fp16": StepModel(to_half(model.onnx), model.states)
        for name, model in models.items()
        if name.startswith("tensorrt")
    }


def _refuse_test_speakers(checkpoint: Checkpoint, clips: Sequence[Clip]) -> None:
    tested = set(checkpoint.training.get("test_speakers", ()))
    heard = sorted({clip.speaker for clip in clips} & tested)
    if heard:
        raise InputError(
            f"{heard[0]} is a test speaker of this checkpoint; calibrating with it would spoil "
            "its test figures. Leave the test speakers out (--without-test-speakers)"
        )


def _mel(front_end: LogMel, clip: Clip) -> NDArray[np.float32]:
    return front_end.clip(load_mono(clip.path, front_end.spec.rate_hz))


def _check_against_torch(
    checkpoint: Checkpoint, model: StepModel, mels: Sequence[NDArray[np.float32]]
) -> float:
    """Largest difference between the graph, step by step, and torch over the whole clip."""
    step_frames = checkpoint.student.config.step_frames
    worst = 0.0
    for mel in mels:
        with torch.no_grad():
            whole = checkpoint.student(torch.from_numpy(mel[None])).logits[0].numpy()
        stepped = _logits(model, [mel], step_frames)[0]
        worst = max(worst, float(np.abs(whole - stepped).max()))
    if not worst <= _TORCH_TOLERANCE:
        raise GateMissed(
            f"the exported graph differs from torch by {worst:.2g} in a logit "
            f"(at most {_TORCH_TOLERANCE:g}); this is a fault of the exporter, please report it"
        )
    return worst


def _logits(
    model: StepModel,
    mels: Sequence[NDArray[np.float32]],
    step_frames: int,
    *,
    as_written: bool = False,
) -> list[NDArray[np.float32]]:
    stepper = FloatStepper(model.onnx, state_specs(model), as_written=as_written)
    return [stepper.logits(mel, step_frames) for mel in mels]


def _golden(models: dict[str, StepModel], mel: NDArray[np.float32], step_frames: int) -> bytes:
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
        arrays[f"logits.{name}"] = _logits(model, [arrays["mel"].astype(np.float32)], step_frames)[
            0
        ]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _manifest(
    checkpoint: Checkpoint,
    request: Request,
    models: dict[str, StepModel],
    calibration: Calibration,
    report: dict[str, Any],
) -> Manifest:
    training = checkpoint.training
    corpora = training.get("corpora", {})
    kinds = {
        "cpu": (("onnxruntime",), "int8"),
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
        metrics={"parity": report["parity"], **request.metrics},
        licences={name: facts["licence"] for name, facts in corpora.items()},
        commercial_use=bool(corpora) and all(facts["commercial"] for facts in corpora.values()),
        training={
            "protocol": training.get("protocol"),
            "train_speakers": training.get("train_speakers", []),
            "test_speakers": training.get("test_speakers", []),
            "corpora": corpora,
            "parameters": sum(p.numel() for p in checkpoint.student.parameters()),
            "depth_weights": [
                round(float(weight), 4) for weight in checkpoint.student.depth_weights().detach()
            ],
            "edge_ser": __version__,
            "onnx": onnx.__version__,
        },
    )
