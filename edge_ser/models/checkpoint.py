"""Checkpoints: weights as safetensors, everything else as JSON in their header."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from edge_ser.errors import InputError, UsageError
from edge_ser.files import replace_file
from edge_ser.frontend import LogMelSpec
from edge_ser.models.student import Student, StudentConfig

__all__ = ["VERSION", "Checkpoint", "load_student", "read_description", "save_student"]

VERSION = 1
"""Version of the student's structure; weights of another version do not fit."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained student with what is needed to deploy it.

    Attributes:
        student: in evaluation mode.
        frontend: that its input was made with.
        training: what it was trained on and how, JSON-ready; with ``test_speakers`` that it
            must not be calibrated on.
    """

    student: Student
    frontend: LogMelSpec
    training: dict[str, Any]

    def reaching(self, context: int) -> Checkpoint:
        """The same with an attention that reaches back ``context`` tokens of 40 ms.

        Training draws shorter contexts than the longest, so the weights know them. A step then
        copies and multiplies less.

        Raises:
            UsageError: longer than it was trained with, or shorter than a step.
        """
        config = self.student.config
        if not config.step_tokens <= context <= config.context:
            reach = f"{config.step_tokens} to {config.context} tokens"
            raise UsageError(f"the attention can reach back {reach}, not {context}")
        student = Student(replace(config, context=context), self.student.silence)
        student.load_state_dict(self.student.state_dict())
        return replace(self, student=student.eval())


def save_student(checkpoint: Checkpoint, path: Path) -> None:
    """Write ``checkpoint`` so that it is there whole or not at all."""
    description = {
        "model": "student",
        "version": VERSION,
        "config": checkpoint.student.config.to_dict(),
        "frontend": checkpoint.frontend.to_dict(),
        "training": checkpoint.training,
    }
    tensors = {name: value.contiguous() for name, value in checkpoint.student.state_dict().items()}
    with replace_file(path) as file:
        file.write(save(tensors, {"edge-ser": json.dumps(description)}))


def read_description(path: Path | str) -> dict[str, Any]:
    """What a checkpoint says of itself, without its weights, JSON-ready.

    Raises:
        InputError: the file is missing, damaged, or was not written by edge-ser.
    """
    return _read(Path(path), weights=False)[0]


def _read(path: Path, *, weights: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint file")
    try:
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get("edge-ser")
            names = file.keys() if weights else ()
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: is no whole checkpoint ({error}); train again") from error
    if header is None:
        raise InputError(f"{path}: was not written by edge-ser train")
    try:
        description: dict[str, Any] = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: its description is no JSON ({error}); train again") from error
    return description, tensors


def load_student(path: Path | str) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        InputError: the file is missing, damaged, no student, of another version, or holds
            weights that are not finite.
    """
    path = Path(path)
    description, tensors = _read(path, weights=True)
    try:
        model, version = description["model"], description["version"]
        if model != "student" or version != VERSION:
            raise InputError(
                f"{path}: holds {model} version {version}, this edge-ser converts student "
                f"version {VERSION}; train it again"
            )
        frontend = LogMelSpec.from_dict(description["frontend"])
        student = Student(StudentConfig.from_dict(description["config"]), frontend.silence)
        student.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        first = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise InputError(f"{path}: the checkpoint does not fit this edge-ser ({first})") from error
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise InputError(f"{path}: weight {name} holds NaN or infinite values; train it again")
    return Checkpoint(student.eval(), frontend, description["training"])
