"""A last layer in closed form, for a student that was taught without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge_ser.corpora import Clip
from edge_ser.errors import MissingExtra
from edge_ser.models.student import Student
from edge_ser.training.bank import FeatureBank
from edge_ser.training.batches import padded_clips

__all__ = ["fit_readout", "linear_classifier"]

_CLIPS_AT_ONCE = 64


def linear_classifier(n_labels: int) -> Any:
    """Standardisation and linear discriminant analysis with shrinkage (Ledoit and Wolf 2004).

    Every label is taken as equally likely.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    try:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        raise MissingExtra("scikit-learn", "semantic", "distil a student") from None
    priors = np.full(n_labels, 1 / n_labels)
    return make_pipeline(
        StandardScaler(),
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=priors),
    )


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
    model = linear_classifier(len(labels))
    model.fit(pooled, np.array([label for _, label in copies]))
    scaler, discriminants = model[0], model[1]
    weight = discriminants.coef_ / scaler.scale_
    bias = discriminants.intercept_ - weight @ scaler.mean_
    if len(weight) == 1:  # two labels have one discriminant
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
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
