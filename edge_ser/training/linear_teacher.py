"""A teacher of a frozen speech encoder and a linear classifier, honest about its own clips."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_ser.corpora import Clip
from edge_ser.errors import MissingExtra
from edge_ser.models.student import Student
from edge_ser.training.batches import Batch
from edge_ser.training.distill import Distiller, DistillLoss, TeacherView
from edge_ser.training.progress import say
from edge_ser.training.semantic import EncoderStates, encoder_states
from edge_ser.training.student import StudentLoss

__all__ = ["DistillWeights", "LinearTeacher"]

_STATE_SIZE = 64
_SUMMARY_SIZE = 64
_INNER_FOLDS = 6
_CLIP = 4.0  # standardised values beyond this are outliers and not worth imitating

Loss = Callable[[nn.Module, Batch, np.random.Generator], Tensor]


@dataclass(frozen=True)
class DistillWeights:
    """What each lesson weighs beside the labels, see ``DistillLoss``; 0 leaves it out."""

    verdict: float = 0.5
    states: float = 0.5
    summary: float = 0.5
    relation: float = 0.2


@dataclass(frozen=True)
class LinearTeacher:
    """Frozen encoder states of clips, and what is fitted on them inside each fold.

    Attributes:
        states: one layer of the encoder, of every clip.
        labels: order of the verdicts.
        weights: of the lessons.
        seed: of the inner folds.
    """

    states: EncoderStates
    labels: tuple[str, ...]
    weights: DistillWeights = field(default_factory=DistillWeights)
    seed: int = 0

    @classmethod
    def listen(
        cls,
        clips: Sequence[Clip],
        encoder: str,
        layer: int,
        labels: tuple[str, ...],
        cache: Path,
        weights: DistillWeights,
        seed: int,
    ) -> LinearTeacher:
        """Compute or read the encoder's states of ``clips``.

        Raises:
            UsageError: a layer that the encoder does not have.
            InputError: an encoder or clip that cannot be read.
        """
        states = encoder_states(clips, encoder, cache, layers=[layer])
        return cls(states, labels, weights, seed)

    def facts(self) -> dict[str, Any]:
        """For the checkpoint's record."""
        return {
            "encoder": self.states.identity,
            "layers": list(self.states.layers),
            "classifier": "linear discriminant analysis on mean and deviation, fitted per fold",
            "weights": vars(self.weights),
        }

    def lesson(
        self, student: Student, clips: Sequence[Clip], label_loss: StudentLoss
    ) -> tuple[nn.Module, Loss]:
        """The student with its throw-away heads, and the loss that teaches it.

        Everything is fitted on ``clips``, the training clips of the fold. The verdict on a
        clip comes from a classifier that has not heard its speaker.
        """
        views = self._views(clips)
        sample = views[clips[0]]
        distiller = Distiller(student, sample.states.shape[1], len(sample.summary))
        loss = DistillLoss(
            label_loss,
            views,
            states_per_frame=self.states.frame_rate_hz / 100.0,
            **vars(self.weights),
        )
        return distiller, loss

    def _views(self, clips: Sequence[Clip]) -> dict[Clip, TeacherView]:
        try:
            from sklearn.decomposition import PCA
            from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import StandardScaler
        except ImportError:
            raise MissingExtra("scikit-learn", "semantic", "distil a student") from None
        states = [self.states.values[clip][0][0].astype(np.float32) for clip in clips]
        pooled = np.stack([np.concatenate([s.mean(axis=0), s.std(axis=0)]) for s in states])
        truth = np.array([self.labels.index(clip.label) for clip in clips])
        inner = self._inner_folds(clips)
        logits = np.zeros((len(clips), len(self.labels)), np.float32)
        priors = np.full(len(self.labels), 1 / len(self.labels))
        for index in range(_INNER_FOLDS):
            held = inner == index
            model = make_pipeline(
                StandardScaler(),
                LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=priors),
            )
            model.fit(pooled[~held], truth[~held])
            logits[held] = np.log(np.maximum(model.predict_proba(pooled[held]), 1e-6))
        accuracy = float(np.mean(logits.argmax(axis=1) == truth))
        say(f"teacher: {accuracy:.1%} of its training clips right, speakers unheard")
        components = min(_SUMMARY_SIZE, len(clips) - 1)
        summary = _whitened(make_pipeline(StandardScaler(), PCA(components, whiten=True)), pooled)
        whiten = PCA(_STATE_SIZE, whiten=True, random_state=self.seed)
        whiten.fit(np.concatenate([s[::2] for s in states]))
        return {
            clip: TeacherView(
                logits[row],
                np.clip(whiten.transform(states[row]), -_CLIP, _CLIP).astype(np.float32),
                summary[row],
            )
            for row, clip in enumerate(clips)
        }

    def _inner_folds(self, clips: Sequence[Clip]) -> NDArray[np.int64]:
        speakers = sorted({clip.speaker for clip in clips})
        random.Random(self.seed).shuffle(speakers)
        fold_of = {speaker: index % _INNER_FOLDS for index, speaker in enumerate(speakers)}
        return np.array([fold_of[clip.speaker] for clip in clips])


def _whitened(pipeline: Any, values: NDArray[np.float32]) -> NDArray[np.float32]:
    white = pipeline.fit_transform(values)
    clipped: NDArray[np.float32] = np.clip(white, -_CLIP, _CLIP).astype(np.float32)
    return clipped
