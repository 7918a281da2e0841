"""A last layer in closed form, for a student that was taught without labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from edge_ser.corpora import Clip
from edge_ser.models.student import Student
from edge_ser.training.bank import FeatureBank
from edge_ser.training.batches import padded_clips
from edge_ser.training.discriminant import Discriminant

__all__ = ["fit_readout"]

_CLIPS_AT_ONCE = 64


def fit_readout(student: Student, bank: FeatureBank, clips: Sequence[Clip]) -> None:
    """Replace the classifier of ``student`` by the linear discriminants of ``clips``.

    With a few hundred clips a last layer found by descent drags the features below it into
    learning the training clips by heart; discriminants with shrinkage do not touch them.
    Every voice and room of each clip counts; clips with another label are passed over.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    labels = student.config.labels
    labelled = [clip for clip in clips if clip.label in labels]
    copies = [
        (feature, labels.index(clip.label))
        for clip in labelled
        for rooms in bank.features[clip]
        for feature in rooms
    ]
    pooled = _final(student, [feature for feature, _ in copies], bank.spec.silence)
    truth = np.array([label for _, label in copies])
    weight, bias = Discriminant.fit(pooled, truth, len(labels)).folded()
    with torch.no_grad():
        student.classifier.weight.copy_(torch.from_numpy(weight)[:, :, None])
        assert student.classifier.bias is not None
        student.classifier.bias.copy_(torch.from_numpy(bias))


@torch.no_grad()
def _final(
    student: Student, features: Sequence[NDArray[np.float16]], silence: float
) -> NDArray[np.float32]:
    """What the memory holds after the last step of each clip, ``(clips, fused)``."""
    student.eval()
    parts, device = [], next(student.parameters()).device
    for start in range(0, len(features), _CLIPS_AT_ONCE):
        chosen = features[start : start + _CLIPS_AT_ONCE]
        mel, last = padded_clips(chosen, silence, student.config.step_frames)
        pooled = student(mel.to(device)).pooled.transpose(1, 2).cpu()
        parts.append(pooled[torch.arange(len(last)), torch.from_numpy(last)].numpy())
    return np.concatenate(parts)
