"""A teacher of a frozen speech encoder and linear classifiers, honest about its own clips."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_ser.corpora import Clip
from edge_ser.models.student import Student
from edge_ser.training.bank import FeatureBank
from edge_ser.training.batches import Batch, speech_span
from edge_ser.training.discriminant import linear_classifier
from edge_ser.training.distill import Distiller, DistillLoss, StateScale, TeacherView
from edge_ser.training.extract import Copies
from edge_ser.training.progress import say
from edge_ser.training.semantic import EncoderStates, encoder_states
from edge_ser.training.student import StudentLoss

__all__ = ["DistillWeights", "LinearTeacher"]

_INNER_FOLDS = 6
_SPAN_S = 3.0  # the teacher forgets as the student's memory does
_SILENCE = 0.02  # weight of states outside of the speech

Loss = Callable[[nn.Module, Batch, np.random.Generator], Tensor]


@dataclass(frozen=True)
class DistillWeights:
    """What each lesson weighs, see ``DistillLoss``; 0 leaves it out."""

    label: float = 0.2
    states: float = 1.0
    verdict: float = 0.5
    summary: float = 0.5
    relation: float = 0.0


@dataclass(frozen=True)
class LinearTeacher:
    """Frozen encoder states of clips, and what is fitted on them inside each fold.

    Attributes:
        states: some layers of the encoder, of every voice of every clip. Each layer has a
            discriminant of its own, and their probabilities are averaged.
        spans: begin and end of the speech in each voice, in log-mel frames.
        labels: order of the verdicts.
        weights: of the lessons.
        seed: of the inner folds.
    """

    states: EncoderStates
    spans: Mapping[Clip, Sequence[tuple[int, int]]]
    labels: tuple[str, ...]
    weights: DistillWeights = field(default_factory=DistillWeights)
    seed: int = 0

    @classmethod
    def listen(
        cls,
        bank: FeatureBank,
        encoder: str,
        layers: Sequence[int],
        labels: tuple[str, ...],
        cache: Path,
        weights: DistillWeights,
        seed: int,
    ) -> LinearTeacher:
        """Compute or read the encoder's states of all voices in ``bank``.

        Args:
            seed: the one that ``bank`` was built with.

        Raises:
            UsageError: a layer that the encoder does not have.
            InputError: an encoder or clip that cannot be read.
        """
        clips = list(bank.features)
        voices = Copies(len(bank.features[clips[0]]) - 1, seed, rooms=False)
        states = encoder_states(clips, encoder, cache, layers=layers, copies=voices)
        spans = {
            clip: [speech_span(rooms[0]) for rooms in heard]
            for clip, heard in bank.features.items()
        }
        return cls(states, spans, labels, weights, seed)

    @property
    def teaches_labels(self) -> bool:
        """Whether the last layer is trained; without labels and verdicts it is not."""
        return self.weights.label > 0 or self.weights.verdict > 0

    def facts(self) -> dict[str, Any]:
        """For the checkpoint's record."""
        return {
            "encoder": self.states.identity,
            "layers": list(self.states.layers),
            "classifier": "vote of linear discriminants on each layer's mean, fitted per fold",
            "weights": vars(self.weights),
        }

    def lesson(
        self, student: Student, clips: Sequence[Clip], label_loss: StudentLoss
    ) -> tuple[nn.Module, Loss]:
        """The student with its throw-away heads, and the loss that teaches it.

        Everything is fitted on ``clips``, the training clips of the fold. The verdict on a
        clip comes from a classifier that has not heard its speaker.
        """
        scale = self._scale(clips)
        distiller = Distiller(
            student,
            scale.mean.shape[1],
            len(self.states.layers),
            states=self.weights.states > 0,
            summary=self.weights.summary > 0,
        )
        loss = DistillLoss(
            label_loss,
            self._views(clips, scale),
            scale,
            states_per_frame=self.states.frame_rate_hz / 100.0,
            **vars(self.weights),
        )
        return distiller, loss

    def _scale(self, clips: Sequence[Clip]) -> StateScale:
        """Over all moments of ``clips`` in their own voices."""
        total, squares, count = np.float64(0), np.float64(0), 0
        for clip in clips:
            values = self.states.values[clip][0].astype(np.float64)
            total, squares = total + values.sum(axis=1), squares + (values**2).sum(axis=1)
            count += values.shape[1]
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0)) + 1e-4
        return StateScale(np.float32(mean), np.float32(deviation))

    def _views(self, clips: Sequence[Clip], scale: StateScale) -> dict[Clip, list[TeacherView]]:
        """Views of each voice of ``clips``, summaries standardised over all of them."""
        pooled = {
            clip: np.stack(
                [
                    (self._pooled(heard, span) - scale.mean) / scale.deviation
                    for heard, span in zip(self.states.values[clip], self.spans[clip], strict=True)
                ]
            )
            for clip in clips
        }
        logits = self._verdicts(clips, pooled)
        everything = np.concatenate(list(pooled.values()))
        centre, spread = everything.mean(axis=0), everything.std(axis=0) + 1e-6
        return {
            clip: [
                TeacherView(
                    None if clip not in logits else logits[clip][voice],
                    heard,
                    ((pooled[clip][voice] - centre) / spread).reshape(-1),
                )
                for voice, heard in enumerate(self.states.values[clip])
            ]
            for clip in clips
        }

    def _pooled(self, states: NDArray[np.float16], span: tuple[int, int]) -> NDArray[np.float32]:
        """Mean states of the speech ``(layers, width)``, weighted towards its end."""
        n = states.shape[1]
        per_frame = self.states.frame_rate_hz / 100.0
        age_s = np.arange(n)[::-1] / self.states.frame_rate_hz
        weight = np.full(n, _SILENCE)
        weight[int(span[0] * per_frame) : int(np.ceil(span[1] * per_frame))] = 1.0
        weight = (weight * np.exp(-age_s / _SPAN_S)).astype(np.float32)
        pooled: NDArray[np.float32] = weight @ states.astype(np.float32) / weight.sum()
        return pooled

    def _verdicts(
        self, clips: Sequence[Clip], pooled: dict[Clip, NDArray[np.float32]]
    ) -> dict[Clip, NDArray[np.float32]]:
        """Logits ``(voices, labels)`` of each labelled clip, from other speakers' clips.

        Args:
            clips: the training clips.
            pooled: ``(voices, layers, width)`` of each.
        """
        labelled = [clip for clip in clips if clip.label in self.labels]
        truth = np.array([self.labels.index(clip.label) for clip in labelled])
        inner = self._inner_folds(labelled)
        logits: dict[Clip, NDArray[np.float32]] = {}
        for index in range(_INNER_FOLDS):
            heard = np.flatnonzero(inner != index)
            vectors = np.concatenate([pooled[labelled[row]] for row in heard])
            answers = np.repeat(truth[heard], [len(pooled[labelled[row]]) for row in heard])
            votes = [
                linear_classifier(len(self.labels)).fit(vectors[:, layer], answers)
                for layer in range(vectors.shape[1])
            ]
            for row in np.flatnonzero(inner == index):
                vector = pooled[labelled[row]]
                shares = np.mean(
                    [vote.predict_proba(vector[:, n]) for n, vote in enumerate(votes)], axis=0
                )
                logits[labelled[row]] = np.log(np.maximum(shares, 1e-6)).astype(np.float32)
        right = np.mean([logits[c][0].argmax() == t for c, t in zip(labelled, truth, strict=True)])
        say(f"teacher: {right:.1%} of its training clips right, speakers unheard")
        return logits

    def _inner_folds(self, clips: Sequence[Clip]) -> NDArray[np.int64]:
        speakers = sorted({clip.speaker for clip in clips})
        random.Random(self.seed).shuffle(speakers)
        fold_of = {speaker: index % _INNER_FOLDS for index, speaker in enumerate(speakers)}
        return np.array([fold_of[clip.speaker] for clip in clips])
