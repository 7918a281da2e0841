"""What a student learns from a teacher beside the labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edge_ser.corpora import Clip
from edge_ser.training.batches import Batch
from edge_ser.training.distiller import STATE_DEPTHS, Guesses
from edge_ser.training.evidence import Evidence, EvidenceScale
from edge_ser.training.student import StudentLoss

__all__ = ["DistillLoss", "StateScale", "TeacherView", "layer_of_depth"]


@dataclass(frozen=True)
class TeacherView:
    """What the teacher makes of one voice of a clip.

    Attributes:
        evidence: for its verdicts, from classifiers that did not train on this speaker.
        states: ``(layers, n, width)`` speech encoder states.
        summary: ``(layers * width,) float32`` their means, standardised: the speech counts,
            its end most.
    """

    evidence: Evidence
    states: NDArray[np.float16]
    summary: NDArray[np.float32]


@dataclass(frozen=True)
class StateScale:
    """Mean and deviation of the states, ``(layers, width) float32`` each."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    @classmethod
    def over(cls, clips: Iterable[NDArray[np.float16]]) -> StateScale:
        """Over all moments of ``(layers, n, width)`` states of some clips."""
        total, squares, count = np.float64(0), np.float64(0), 0
        for clip in clips:
            values = clip.astype(np.float64)
            total, squares = total + values.sum(axis=1), squares + (values**2).sum(axis=1)
            count += values.shape[1]
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0)) + 1e-4
        return cls(np.float32(mean), np.float32(deviation))

    def __call__(self, states: NDArray[np.float16], layer: int) -> NDArray[np.float32]:
        """``(n, width)`` states of one layer, standardised."""
        scaled: NDArray[np.float32] = (states - self.mean[layer]) / self.deviation[layer]
        return scaled


_OF_MOMENTS = 0.25
"""Weight of the evidence of single moments beside that of what was heard so far."""


def layer_of_depth(n_layers: int) -> tuple[int, ...]:
    """Which of the teacher's layers each of ``STATE_DEPTHS`` guesses, from first to last."""
    last = len(STATE_DEPTHS) - 1
    return tuple(round(depth * (n_layers - 1) / last) for depth in range(last + 1))


@dataclass(frozen=True)
class DistillLoss:
    """Labels, and what a teacher makes of each moment and of all that was heard so far.

    Attributes:
        label_loss: how the labels are learnt.
        views: of each clip, one per voice.
        scale: that standardises the states.
        evidence_scale: that standardises the evidence and softens the verdicts.
        label: weight of the labels.
        states: weight of the encoder states, mean square distance of standardised values.
        delay_frames: how much earlier than the student's token the state lies, so that it
            shows no future.
        verdict: weight of the teacher's softened verdicts on what was heard so far (Hinton et
            al. 2015, step by step).
        evidence: weight of the evidence that they rest on.
        summary: weight of the summary.
        relation: weight of matching the similarities between the clips of a batch (Park et
            al., Relational Knowledge Distillation, 2019).
        states_per_frame: encoder states per log-mel frame.
    """

    label_loss: StudentLoss
    views: Mapping[Clip, Sequence[TeacherView]]
    scale: StateScale
    evidence_scale: EvidenceScale
    label: float = 0.0
    states: float = 0.0
    delay_frames: float = 8.0
    verdict: float = 0.0
    evidence: float = 0.0
    summary: float = 0.0
    relation: float = 0.0
    states_per_frame: float = 160.0 / 384.0

    def __call__(self, model: nn.Module, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Scalar loss of ``batch``."""
        guesses: Guesses = model(batch.mel, int(rng.choice(self.label_loss.contexts)))
        output, states, summary, evidence = guesses
        views = [
            self.views[clip][voice] for clip, voice in zip(batch.clips, batch.voices, strict=True)
        ]
        weight = (batch.since / self.label_loss.ramp_steps).clamp(0.0, 1.0)
        loss = self.label * self.label_loss.of_logits(output.logits, batch.target, batch.since)
        if self.states and states:
            loss = loss + self.states * self._states(states, views, batch)
        if self.verdict or self.evidence:
            means, known = self._so_far(views, batch, output.logits.shape[1])
            share = weight * torch.from_numpy(known).to(weight.device)
            if self.verdict:
                loss = loss + self.verdict * self._verdict(output.logits, means, share)
            if self.evidence and evidence is not None:
                of_steps, of_tokens = evidence
                error = _distance(of_steps, self._scaled(means))
                error = (error * share).sum() / share.sum().clamp(min=1.0)
                moments = self._moments(of_tokens, views, batch)
                loss = loss + self.evidence * (error + _OF_MOMENTS * moments)
        if self.summary or self.relation:
            target = torch.from_numpy(np.stack([view.summary for view in views])).to(weight.device)
            if self.summary and summary is not None:
                error = _distance(summary, target[:, :, None].expand_as(summary))
                loss = loss + self.summary * (error * weight).sum() / weight.sum().clamp(min=1.0)
            if self.relation:
                loss = loss + self.relation * _relation(output.pooled[:, :, -1], target)
        return loss

    def _verdict(self, logits: Tensor, means: NDArray[np.float32], share: Tensor) -> Tensor:
        soft = torch.from_numpy(self.evidence_scale.verdict(means)).to(logits.device)
        guess = F.log_softmax(logits, dim=-1)
        divergence = (soft * (soft.clamp(min=1e-8).log() - guess)).sum(-1)
        return (divergence * share).sum() / share.sum().clamp(min=1.0)

    def _so_far(
        self, views: list[TeacherView], batch: Batch, n_steps: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Mean evidence of what each step has heard of the crop, and where there is any.

        Returns:
            ``(batch, steps, layers, labels) float32`` and ``(batch, steps) bool``.
        """
        ends = (np.arange(n_steps) + 1.0) * (batch.mel.shape[2] / n_steps) - self.delay_frames
        means = np.zeros((len(views), n_steps, *views[0].evidence.logits.shape[1:]), np.float32)
        known = np.zeros((len(views), n_steps), np.bool_)
        for row, view in enumerate(views):
            origin = int(batch.origin[row])
            first = max(0, int(origin * self.states_per_frame))
            running, speech = view.evidence.running(first)
            index = np.floor((origin + ends) * self.states_per_frame).astype(int) - first
            begun, index = index >= 0, index.clip(0, len(running) - 1)
            means[row], known[row] = running[index], begun & speech[index]
        return means, known

    def _moments(self, guess: Tensor, views: list[TeacherView], batch: Batch) -> Tensor:
        """Distance of ``(batch, layers * labels, tokens)`` from the evidence of single states."""
        n_tokens = guess.shape[2]
        logits = np.zeros((len(views), n_tokens, *views[0].evidence.logits.shape[1:]), np.float32)
        weight = np.zeros((len(views), n_tokens), np.float32)
        for row, view in enumerate(views):
            index, inside = self._heard_at(batch, row, n_tokens, len(view.evidence.weight))
            logits[row, inside] = view.evidence.logits[index]
            weight[row, inside] = view.evidence.weight[index]
        share = torch.from_numpy(weight).to(guess.device)
        error = _distance(guess, self._scaled(logits))
        return (error * share).sum() / share.sum().clamp(min=1.0)

    def _scaled(self, logits: NDArray[np.float32]) -> Tensor:
        """``(batch, times, layers, labels)`` as the evidence head is to guess it."""
        scaled = self.evidence_scale(logits)
        return torch.from_numpy(scaled.reshape(*scaled.shape[:2], -1).transpose(0, 2, 1))

    def _heard_at(
        self, batch: Batch, row: int, n_tokens: int, n_states: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Which states the tokens of a row have just heard, and which tokens heard one.

        The first tokens of a crop would answer for states of the ``delay_frames`` before it,
        of which they have heard nothing: they answer for none.
        """
        frames = (np.arange(n_tokens) + 0.5) * (batch.mel.shape[2] / n_tokens) - self.delay_frames
        heard = frames >= 0
        frames = frames + int(batch.origin[row])
        index = (frames * self.states_per_frame).astype(np.int64)
        inside = heard & (frames >= 0) & (index < n_states)
        return index[inside], inside

    def _states(self, guesses: list[Tensor], views: list[TeacherView], batch: Batch) -> Tensor:
        n_tokens = guesses[0].shape[2]
        layers = layer_of_depth(len(views[0].states))
        width = views[0].states.shape[2]
        targets = {
            layer: np.zeros((len(views), width, n_tokens), np.float32) for layer in set(layers)
        }
        known = np.zeros((len(views), n_tokens), bool)
        for row, view in enumerate(views):
            index, inside = self._heard_at(batch, row, n_tokens, view.states.shape[1])
            for layer, target in targets.items():
                target[row][:, inside] = self.scale(view.states[layer][index], layer).T
            known[row] = inside
        device = guesses[0].device
        mask = torch.from_numpy(known).to(device)
        loss = guesses[0].sum() * 0.0
        for share, guess, layer in zip(STATE_DEPTHS, guesses, layers, strict=True):
            error = (guess - torch.from_numpy(targets[layer]).to(device)).square().mean(1)
            loss = loss + share * (error * mask).sum() / mask.sum().clamp(min=1)
        return loss


def _distance(guess: Tensor, target: Tensor) -> Tensor:
    """Huber distance over the rows of ``(batch, rows, times)``, ``(batch, times)``."""
    return F.smooth_l1_loss(guess, target.to(guess.device), reduction="none").mean(1)


def _relation(own: Tensor, other: Tensor) -> Tensor:
    """Distance of the cosine similarity matrices of two views of a batch."""
    a, b = F.normalize(own - own.mean(0), dim=1), F.normalize(other - other.mean(0), dim=1)
    return F.mse_loss(a @ a.T, b @ b.T)
