"""Untrained students with weights and statistics as training leaves them; needs torch."""

from __future__ import annotations

import torch

from edge_ser.frontend import LogMel, LogMelSpec
from edge_ser.models import Student, StudentConfig
from making.speech import speech

__all__ = ["TINY", "mel_of", "random_student"]

TINY = StudentConfig(stem=12, trunk=16, heads=2, context=8, fused=20, dropout=0.1)


def mel_of(seconds: float, seed: int = 0, spec: LogMelSpec | None = None) -> torch.Tensor:
    """``(1, n_mels, frames)`` of speech-like audio."""
    return torch.from_numpy(LogMel(spec).clip(speech(seconds, seed)))[None]


def random_student(config: StudentConfig = TINY, seed: int = 0) -> Student:
    """A student in evaluation mode whose batch norms have seen data.

    Affine parameters, depth weights and attention are drawn too, so that nothing that has to
    be folded is an identity by accident.
    """
    torch.manual_seed(seed)
    spec = LogMelSpec(n_mels=config.n_mels, step_frames=config.step_frames)
    student = Student(config, spec.silence)
    mel = torch.cat([mel_of(2.0, seed + index, spec) for index in range(4)])
    student.set_normalisation(mel.mean((0, 2)), mel.std((0, 2)))
    with torch.no_grad():
        for module in student.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
                module.momentum = None  # a plain mean over all batches
        student.depth_logits.normal_()
        student.memory.rest.uniform_(0.0, 1.0)
        # Untrained scores are so flat that a wrong mask would go unnoticed.
        for attention in (student.middle_attention, student.high_attention):
            attention.query.weight.mul_(3.0)
            attention.key_value.weight.mul_(2.0)
        student.train()
        for _ in range(3):
            student(mel)
        student.classifier.weight.mul_(3.0)
    return student.eval()
