"""What a student learns from a teacher beside the labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edge_ser.corpora import Clip
from edge_ser.models.student import Student, StudentOutput
from edge_ser.training.batches import Batch
from edge_ser.training.student import StudentLoss

__all__ = ["DistillLoss", "Distiller", "TeacherView"]


@dataclass(frozen=True)
class TeacherView:
    """What the teacher makes of one clip.

    Attributes:
        logits: ``(labels,)`` its verdict, from a teacher that did not train on this speaker,
            or None for an unlabelled clip.
        states: ``(n, width) float32`` speech encoder states, standardised.
        summary: ``(size,) float32`` utterance-level description, standardised.
    """

    logits: NDArray[np.float32] | None
    states: NDArray[np.float32]
    summary: NDArray[np.float32]


class Distiller(nn.Module):
    """A student with throw-away heads that guess what the teacher sees.

    Args:
        width: of the teacher's states, 0 for no such heads.
        size: of the teacher's summary, 0 for no such head.
    """

    def __init__(self, student: Student, width: int, size: int) -> None:
        super().__init__()
        c = student.config
        self.student = student
        self.state_heads = nn.ModuleList(
            nn.Conv1d(c.trunk, width, 1) for _ in range(3 if width else 0)
        )
        self.summary_head = nn.Conv1d(2 * c.fused, size, 1) if size else None

    def forward(
        self, mel: Tensor, context: int | None = None
    ) -> tuple[StudentOutput, list[Tensor], Tensor | None]:
        """Student output and what its heads guess.

        Returns:
            The output, states ``(batch, width, tokens)`` per depth, and the summary ``(batch,
            size, steps)``.
        """
        output = self.student(mel, context)
        states = [
            head(depth) for head, depth in zip(self.state_heads, output.semantic, strict=False)
        ]
        summary = None if self.summary_head is None else self.summary_head(output.statistics)
        return output, states, summary


@dataclass(frozen=True)
class DistillLoss:
    """Labels, softened verdicts, encoder states and utterance summaries of the teacher.

    Attributes:
        label: how the labels are learnt; ``mixup`` must be off.
        verdict: weight of the softened verdicts (Hinton et al. 2015).
        temperature: that softens them.
        states: weight of the encoder states, absolute plus cosine distance (DistilHuBERT,
            Chang et al. 2022).
        delay_frames: how much earlier than the student's token the state lies, so that it
            shows no future.
        summary: weight of the utterance summary.
        relation: weight of matching the similarities between the clips of a batch (Park et
            al., Relational Knowledge Distillation, 2019).
    """

    label: StudentLoss
    views: Mapping[Clip, TeacherView]
    verdict: float = 1.0
    temperature: float = 2.0
    states: float = 0.5
    delay_frames: float = 8.0
    summary: float = 0.5
    relation: float = 0.2
    states_per_frame: float = 160.0 / 384.0

    def __call__(self, model: nn.Module, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Scalar loss of ``batch``."""
        output, states, summary = model(batch.mel, int(rng.choice(self.label.contexts)))
        views = [self.views[clip] for clip in batch.clips]
        weight = (batch.since / self.label.ramp_steps).clamp(0.0, 1.0)
        loss = self.label.of_logits(output.logits, batch.target, batch.since)
        if self.verdict:
            loss = loss + self.verdict * self._verdict(output.logits, views, weight)
        if self.states and states:
            loss = loss + self.states * self._states(states, views, batch)
        target = torch.from_numpy(np.stack([view.summary for view in views]))
        if self.summary and summary is not None:
            error = F.smooth_l1_loss(
                summary, target[:, :, None].expand_as(summary), reduction="none"
            ).mean(1)
            loss = loss + self.summary * (error * weight).sum() / weight.sum()
        if self.relation:
            loss = loss + self.relation * _relation(output.statistics[:, :, -1], target)
        return loss

    def _verdict(self, logits: Tensor, views: list[TeacherView], weight: Tensor) -> Tensor:
        known = {row: view.logits for row, view in enumerate(views) if view.logits is not None}
        if not known:
            return logits.sum() * 0.0
        rows = list(known)
        target = torch.from_numpy(np.stack(list(known.values())))
        soft = F.softmax(target / self.temperature, dim=-1)[:, None]
        guess = F.log_softmax(logits[rows] / self.temperature, dim=-1)
        divergence = (soft * (soft.clamp(min=1e-8).log() - guess)).sum(-1)
        share = weight[rows]
        return self.temperature**2 * (divergence * share).sum() / share.sum()

    def _states(self, guesses: list[Tensor], views: list[TeacherView], batch: Batch) -> Tensor:
        n_tokens = guesses[0].shape[2]
        frames = (np.arange(n_tokens) + 0.5) * (batch.mel.shape[2] / n_tokens) - self.delay_frames
        targets = np.zeros((len(views), views[0].states.shape[1], n_tokens), np.float32)
        known = np.zeros((len(views), n_tokens), bool)
        for row, view in enumerate(views):
            source = float(batch.origin[row]) + frames * float(batch.stretch[row])
            index = np.round(source * self.states_per_frame).astype(int)
            inside = (index >= 0) & (index < len(view.states))
            targets[row][:, inside] = view.states[index[inside]].T
            known[row] = inside
        target, mask = torch.from_numpy(targets), torch.from_numpy(known)
        loss = guesses[0].sum() * 0.0
        for guess in guesses:
            absolute = (guess - target).abs().mean(1)
            angle = 1.0 - F.cosine_similarity(guess, target, dim=1)
            loss = loss + ((absolute + angle) * mask).sum() / mask.sum().clamp(min=1)
        return loss / len(guesses)


def _relation(own: Tensor, other: Tensor) -> Tensor:
    """Distance of the cosine similarity matrices of two views of a batch."""
    a, b = F.normalize(own - own.mean(0), dim=1), F.normalize(other - other.mean(0), dim=1)
    return F.mse_loss(a @ a.T, b @ b.T)
