"""What a student learns from a teacher beside the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

__all__ = ["DistillLoss", "Distiller", "StateScale", "TeacherView", "layer_of_depth"]


@dataclass(frozen=True)
class TeacherView:
    """What the teacher makes of one voice of a clip.

    Attributes:
        logits: ``(labels,)`` its verdict, from a teacher that did not train on this speaker,
            or None for a clip without a label.
        states: ``(layers, n, width)`` speech encoder states.
        summary: ``(layers * width,) float32`` their means, standardised: the speech counts,
            its end most.
    """

    logits: NDArray[np.float32] | None
    states: NDArray[np.float16]
    summary: NDArray[np.float32]


@dataclass(frozen=True)
class StateScale:
    """Mean and deviation of the states, ``(layers, width) float32`` each."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    def __call__(self, states: NDArray[np.float16], layer: int) -> NDArray[np.float32]:
        """``(n, width)`` states of one layer, standardised."""
        scaled: NDArray[np.float32] = (states - self.mean[layer]) / self.deviation[layer]
        return scaled


STATE_DEPTHS = (0.15, 0.25, 0.6)
"""Weights of the states as the intermediate and high depth of the semantic branch and the
fusion guess them."""


def layer_of_depth(n_layers: int) -> tuple[int, ...]:
    """Which of the teacher's layers each of ``STATE_DEPTHS`` guesses, from first to last."""
    last = len(STATE_DEPTHS) - 1
    return tuple(round(depth * (n_layers - 1) / last) for depth in range(last + 1))


class Distiller(nn.Module):
    """A student with throw-away heads that guess what the teacher sees.

    Args:
        width: of the teacher's states.
        layers: of the teacher; the summary has all of them side by side.
        states: have heads that guess the states.
        summary: have a head that guesses the summary.
    """

    def __init__(
        self, student: Student, width: int, layers: int, *, states: bool, summary: bool
    ) -> None:
        super().__init__()
        c = student.config
        self.student = student
        self.state_heads = nn.ModuleList(
            nn.Conv1d(channels, width, 1) for channels in (c.trunk, c.trunk, c.fused) if states
        )
        self.summary_head = nn.Conv1d(c.fused, layers * width, 1) if summary else None

    def forward(
        self, mel: Tensor, context: int | None = None
    ) -> tuple[StudentOutput, list[Tensor], Tensor | None]:
        """Student output and what its heads guess.

        Returns:
            The output, states ``(batch, width, tokens)`` per depth, and the summary ``(batch,
            layers * width, steps)``.
        """
        output = self.student(mel, context)
        depths = (*output.semantic[1:], output.fused)
        states = [head(depth) for head, depth in zip(self.state_heads, depths, strict=False)]
        summary = None if self.summary_head is None else self.summary_head(output.pooled)
        return output, states, summary


@dataclass(frozen=True)
class DistillLoss:
    """Encoder states, labels, softened verdicts and utterance summaries of the teacher.

    Attributes:
        label_loss: how the labels are learnt.
        views: of each clip, one per voice.
        scale: that standardises the states.
        label: weight of the labels.
        states: weight of the encoder states, mean square distance of standardised values.
        delay_frames: how much earlier than the student's token the state lies, so that it
            shows no future.
        verdict: weight of its verdicts (Hinton et al. 2015).
        temperature: that softens them; 1 takes the probabilities as they are.
        summary: weight of the summary.
        relation: weight of matching the similarities between the clips of a batch (Park et
            al., Relational Knowledge Distillation, 2019).
        states_per_frame: encoder states per log-mel frame.
    """

    label_loss: StudentLoss
    views: Mapping[Clip, Sequence[TeacherView]]
    scale: StateScale
    label: float = 0.2
    states: float = 1.0
    delay_frames: float = 8.0
    verdict: float = 0.5
    temperature: float = 1.0
    summary: float = 0.5
    relation: float = 0.0
    states_per_frame: float = 160.0 / 384.0

    def __call__(self, model: nn.Module, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Scalar loss of ``batch``."""
        output, states, summary = model(batch.mel, int(rng.choice(self.label_loss.contexts)))
        views = [
            self.views[clip][voice] for clip, voice in zip(batch.clips, batch.voices, strict=True)
        ]
        weight = (batch.since / self.label_loss.ramp_steps).clamp(0.0, 1.0)
        loss = self.label * self.label_loss.of_logits(output.logits, batch.target, batch.since)
        if self.states and states:
            loss = loss + self.states * self._states(states, views, batch)
        if self.verdict:
            loss = loss + self.verdict * self._verdict(output.logits, views, weight)
        target = torch.from_numpy(np.stack([view.summary for view in views])).to(batch.mel.device)
        if self.summary and summary is not None:
            error = F.smooth_l1_loss(
                summary, target[:, :, None].expand_as(summary), reduction="none"
            ).mean(1)
            loss = loss + self.summary * (error * weight).sum() / weight.sum().clamp(min=1.0)
        if self.relation:
            loss = loss + self.relation * _relation(output.pooled[:, :, -1], target)
        return loss

    def _verdict(self, logits: Tensor, views: list[TeacherView], weight: Tensor) -> Tensor:
        known = {row: view.logits for row, view in enumerate(views) if view.logits is not None}
        if not known:
            return logits.sum() * 0.0
        rows = list(known)
        target = torch.from_numpy(np.stack(list(known.values()))).to(logits.device)
        soft = F.softmax(target / self.temperature, dim=-1)[:, None]
        guess = F.log_softmax(logits[rows] / self.temperature, dim=-1)
        divergence = (soft * (soft.clamp(min=1e-8).log() - guess)).sum(-1)
        share = weight[rows]
        return self.temperature**2 * (divergence * share).sum() / share.sum().clamp(min=1.0)

    def _states(self, guesses: list[Tensor], views: list[TeacherView], batch: Batch) -> Tensor:
        n_tokens = guesses[0].shape[2]
        frames = (np.arange(n_tokens) + 0.5) * (batch.mel.shape[2] / n_tokens) - self.delay_frames
        layers = layer_of_depth(len(views[0].states))
        width = views[0].states.shape[2]
        targets = {
            layer: np.zeros((len(views), width, n_tokens), np.float32) for layer in set(layers)
        }
        known = np.zeros((len(views), n_tokens), bool)
        for row, view in enumerate(views):
            index = ((int(batch.origin[row]) + frames) * self.states_per_frame).astype(int)
            inside = (frames + int(batch.origin[row]) >= 0) & (index < view.states.shape[1])
            for layer, target in targets.items():
                target[row][:, inside] = self.scale(view.states[layer][index[inside]], layer).T
            known[row] = inside
        device = guesses[0].device
        mask = torch.from_numpy(known).to(device)
        loss = guesses[0].sum() * 0.0
        for share, guess, layer in zip(STATE_DEPTHS, guesses, layers, strict=True):
            error = (guess - torch.from_numpy(targets[layer]).to(device)).square().mean(1)
            loss = loss + share * (error * mask).sum() / mask.sum().clamp(min=1)
        return loss


def _relation(own: Tensor, other: Tensor) -> Tensor:
    """Distance of the cosine similarity matrices of two views of a batch."""
    a, b = F.normalize(own - own.mean(0), dim=1), F.normalize(other - other.mean(0), dim=1)
    return F.mse_loss(a @ a.T, b @ b.T)
