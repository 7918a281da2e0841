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
from edge_ser.errors import InputError
from edge_ser.lessons import DistillWeights
from edge_ser.models.student import Student
from edge_ser.training.bank import FeatureBank
from edge_ser.training.batches import Batch, speech_span
from edge_ser.training.discriminant import Discriminant
from edge_ser.training.distill import DistillLoss, StateScale, TeacherView
from edge_ser.training.distiller import Distiller
from edge_ser.training.evidence import Evidence, EvidenceScale, clip_means, speech_weight, vote
from edge_ser.training.extract import Copies
from edge_ser.training.progress import say
from edge_ser.training.semantic import EncoderStates, encoder_states
from edge_ser.training.student import StudentLoss

__all__ = ["LinearTeacher", "check_speakers"]

_INNER_FOLDS = 6
_DEALS = 100  # of the speakers to those folds, until every label is in two
_SPAN_S = 3.0  # the teacher forgets as the student's memory does

Loss = Callable[[nn.Module, Batch, np.random.Generator], Tensor]


def check_speakers(clips: Sequence[Clip], labels: Sequence[str], of: str = "") -> None:
    """Whether each speaker of training ``clips`` can be judged by what others say.

    Args:
        of: where the clips are trained on, for the message.

    Raises:
        InputError: naming a label of fewer than two speakers.
    """
    for label in labels:
        speakers = sorted({clip.speaker for clip in clips if clip.label == label})
        if len(speakers) < 2:
            raise InputError(
                f"{of}{label}: too few speakers to train on ({', '.join(speakers) or 'none'}); the "
                "teacher judges each speaker by what others say, so every label needs two; give "
                "more speakers, fewer --folds, another --seed, or leave it out of --labels"
            )


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
        # Of the clips in their own voices.
        scale = StateScale.over(self.states.values[clip][0] for clip in clips)
        views, evidence_scale = self._views(clips, scale)
        distiller = Distiller(
            student,
            scale.mean.shape[1],
            len(self.states.layers),
            states=self.weights.states > 0,
            summary=self.weights.summary > 0,
            evidence=self.weights.evidence > 0,
        )
        loss = DistillLoss(
            label_loss,
            views,
            scale,
            evidence_scale,
            states_per_frame=self._states_per_frame,
            **vars(self.weights),
        )
        return distiller, loss

    def _views(
        self, clips: Sequence[Clip], scale: StateScale
    ) -> tuple[dict[Clip, list[TeacherView]], EvidenceScale]:
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
        evidence, evidence_scale = self._evidence(clips, pooled, scale)
        everything = np.concatenate(list(pooled.values()))
        centre, spread = everything.mean(axis=0), everything.std(axis=0) + 1e-6
        views = {
            clip: [
                TeacherView(
                    evidence[clip][voice],
                    heard,
                    ((pooled[clip][voice] - centre) / spread).reshape(-1),
                )
                for voice, heard in enumerate(self.states.values[clip])
            ]
            for clip in clips
        }
        return views, evidence_scale

    def _pooled(self, states: NDArray[np.float16], span: tuple[int, int]) -> NDArray[np.float32]:
        """Mean states of the speech ``(layers, width)``, weighted towards its end."""
        n = states.shape[1]
        age_s = np.arange(n)[::-1] / self.states.frame_rate_hz
        weight = speech_weight(n, span, self._states_per_frame)
        weight = (weight * np.exp(-age_s / _SPAN_S)).astype(np.float32)
        pooled: NDArray[np.float32] = weight @ states.astype(np.float32) / weight.sum()
        return pooled

    def _evidence(
        self, clips: Sequence[Clip], pooled: dict[Clip, NDArray[np.float32]], scale: StateScale
    ) -> tuple[dict[Clip, list[Evidence]], EvidenceScale]:
        """Evidence of each voice of each clip, from classifiers of other speakers' clips.

        Args:
            clips: the training clips.
            pooled: ``(voices, layers, width)`` of each, standardised by ``scale``.
            scale: of the states.
        """
        check_speakers(clips, self.labels)
        labelled = [clip for clip in clips if clip.label in self.labels]
        truth = np.array([self.labels.index(clip.label) for clip in labelled])
        fold_of = self._inner_folds(clips, labelled)
        found: dict[Clip, list[Evidence]] = {}
        for index in range(_INNER_FOLDS):
            heard = [row for row, clip in enumerate(labelled) if fold_of[clip.speaker] != index]
            vectors = np.concatenate([pooled[labelled[row]] for row in heard])
            answers = np.repeat(truth[heard], [len(pooled[labelled[row]]) for row in heard])
            judges = [
                Discriminant.fit(vectors[:, layer], answers, len(self.labels))
                for layer in range(vectors.shape[1])
            ]
            for clip in clips:
                if fold_of[clip.speaker] == index:
                    found[clip] = self._heard_by(judges, clip, scale)
        own = np.concatenate([clip_means(found[clip][:1]) for clip in labelled])
        right = np.mean(vote(own).argmax(axis=-1) == truth)
        say(f"teacher: {right:.1%} of its training clips right, speakers unheard")
        means = np.concatenate([clip_means(found[clip]) for clip in clips])
        return found, EvidenceScale.fit(means, own, truth)

    def _heard_by(
        self, judges: Sequence[Discriminant], clip: Clip, scale: StateScale
    ) -> list[Evidence]:
        span = _SPAN_S * self.states.frame_rate_hz
        return [
            Evidence(
                np.stack(
                    [judge(scale(heard[n], n)) for n, judge in enumerate(judges)], axis=1
                ).astype(np.float32),
                speech_weight(heard.shape[1], speech, self._states_per_frame),
                span,
            )
            for heard, speech in zip(self.states.values[clip], self.spans[clip], strict=True)
        ]

    @property
    def _states_per_frame(self) -> float:
        return self.states.frame_rate_hz / 100.0

    def _inner_folds(self, clips: Sequence[Clip], labelled: Sequence[Clip]) -> dict[str, int]:
        """Which classifiers judge each speaker: those of a fold that has not heard them."""
        speakers = sorted({clip.speaker for clip in labelled})
        of_label = [{c.speaker for c in labelled if c.label == label} for label in self.labels]
        rng = random.Random(self.seed)
        for _ in range(_DEALS):
            rng.shuffle(speakers)
            fold_of = {speaker: index % _INNER_FOLDS for index, speaker in enumerate(speakers)}
            # The few speakers of a rare label may be dealt to one fold, which leaves its
            # classifiers none to learn from.
            if all(len(who) < 2 or len({fold_of[s] for s in who}) > 1 for who in of_label):
                break
        # Nobody has heard a speaker without labels; any fold will do.
        return {clip.speaker: fold_of.get(clip.speaker, 0) for clip in clips}
