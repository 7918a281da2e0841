"""What it takes to train the student: its loss, its validation, its input statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edge_ser.calibration.confidence import after_seconds, softmax
from edge_ser.corpora import Clip
from edge_ser.metrics import score
from edge_ser.training.bank import FeatureBank
from edge_ser.training.batches import Batch, padded_clips, speech_span
from edge_ser.training.finite import check_logits

__all__ = [
    "StudentLoss",
    "clip_logits",
    "final_logits",
    "heard_logits",
    "mean_uar",
    "mel_statistics",
]

_CLIPS_AT_ONCE = 64


@dataclass(frozen=True)
class StudentLoss:
    """Cross-entropy of every prefix of a clip, weighted by how much of it was heard.

    Attributes:
        ramp_steps: heard steps until a verdict counts in full.
        smoothing: label smoothing.
        contexts: left contexts of the attention, in tokens, one drawn per batch.
    """

    ramp_steps: int = 20
    smoothing: float = 0.1
    contexts: tuple[int, ...] = (16, 32, 64, 64)

    def __call__(self, model: nn.Module, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Scalar loss of ``batch``."""
        logits = model(batch.mel, int(rng.choice(self.contexts))).logits
        return self.of_logits(logits, batch.target, batch.since)

    def of_logits(self, logits: Tensor, target: Tensor, since: Tensor) -> Tensor:
        """Loss of ``(batch, steps, labels)`` logits against ``(batch, labels)`` targets.

        Rows whose target is all zero have no label and do not count.
        """
        labelled = target.sum(1, keepdim=True)
        target = target * (1 - self.smoothing) + labelled * self.smoothing / target.shape[1]
        losses = -(target[:, None] * F.log_softmax(logits, dim=-1)).sum(-1)
        weight = (since / self.ramp_steps).clamp(0.0, 1.0) * labelled
        return (losses * weight).sum() / weight.sum().clamp(min=1.0)


def mel_statistics(bank: FeatureBank, clips: Sequence[Clip]) -> tuple[Tensor, Tensor]:
    """Mean and deviation per mel band ``(n_mels,)`` over all voices and rooms of ``clips``."""
    total: NDArray[np.float64] = np.zeros(bank.spec.n_mels)
    squares, count = total.copy(), 0
    for clip in clips:
        for feature in (room for rooms in bank.features[clip] for room in rooms):
            values = feature.astype(np.float64)
            total += values.sum(axis=1)
            squares += (values**2).sum(axis=1)
            count += values.shape[1]
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    return torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()


@torch.no_grad()
def clip_logits(
    model: nn.Module, bank: FeatureBank, clips: Sequence[Clip], step_frames: int
) -> list[NDArray[np.float32]]:
    """Logits ``(steps, labels) float32`` of every step of each clean clip.

    Raises:
        InputError: one is no finite number.
    """
    rows: list[NDArray[np.float32]] = []
    device = next(model.parameters()).device
    for start in range(0, len(clips), _CLIPS_AT_ONCE):
        features = [bank.clean(clip) for clip in clips[start : start + _CLIPS_AT_ONCE]]
        mel, last = padded_clips(features, bank.spec.silence, step_frames)
        logits = model(mel.to(device)).logits.cpu().numpy()
        check_logits(logits)
        rows += [row[: end + 1] for row, end in zip(logits, last, strict=True)]
    return rows


def final_logits(
    model: nn.Module, bank: FeatureBank, clips: Sequence[Clip], step_frames: int
) -> NDArray[np.float32]:
    """Logits after the last step of each clean clip, ``(clips, labels) float32``."""
    return np.stack([rows[-1] for rows in clip_logits(model, bank, clips, step_frames)])


def heard_logits(
    logits: Sequence[NDArray[np.float32]],
    bank: FeatureBank,
    clips: Sequence[Clip],
    step_frames: int,
) -> NDArray[np.float32]:
    """What was said of each clip after ``HEARD_S`` seconds of its speech.

    Args:
        logits: of every step of each clip.

    Returns:
        ``(clips, len(HEARD_S), labels) float32``, NaN where a clip is shorter.
    """
    begins = [speech_span(bank.clean(clip))[0] for clip in clips]
    return after_seconds(logits, begins, step_frames)


def mean_uar(logits: NDArray[np.float32], clips: Sequence[Clip], labels: tuple[str, ...]) -> float:
    """UAR averaged over the corpora, so that no corpus decides by its size."""
    values = []
    for corpus in sorted({clip.corpus for clip in clips}):
        rows = [row for row, clip in enumerate(clips) if clip.corpus == corpus]
        truth = [labels.index(clips[row].label) for row in rows]
        values.append(score(truth, softmax(logits[rows]), labels).uar)
    return float(np.mean(values))
