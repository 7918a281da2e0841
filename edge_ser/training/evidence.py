"""What linear classifiers make of every moment of a clip, which adds up to their verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_ser.calibration.confidence import softmax

__all__ = ["Evidence", "EvidenceScale", "clip_means", "speech_weight", "vote"]

_SILENCE = 0.02  # weight of a state outside of the speech
_TEMPERATURES = [float(value) for value in np.geomspace(0.25, 16.0, 97)]


def speech_weight(n: int, span: tuple[int, int], states_per_frame: float) -> NDArray[np.float32]:
    """How much each of ``n`` states counts, ``(n,)``: 1 in the speech, little elsewhere.

    Args:
        span: begin and end of the speech in log-mel frames.
    """
    weight = np.full(n, _SILENCE, np.float32)
    weight[int(span[0] * states_per_frame) : int(np.ceil(span[1] * states_per_frame))] = 1.0
    return weight


@dataclass(frozen=True)
class Evidence:
    """Logits of one voice of a clip, state by state.

    A linear classifier of mean states says of a mean what it says of the states on average.
    So its verdict on all that was heard up to any moment is a running mean of these.

    Attributes:
        logits: ``(n, layers, labels) float32``, of each layer's own classifier.
        weight: ``(n,) float32`` of the states, see :func:`speech_weight`.
        span: states of speech after which what was heard counts 1/e, as in the student's memory.
    """

    logits: NDArray[np.float32]
    weight: NDArray[np.float32]
    span: float

    def running(self, first: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Means of what was heard from state ``first`` on, after each further state.

        Returns:
            ``(n - first, layers, labels) float32``, and ``(n - first,) bool``: whether speech
            is in it already.
        """
        weight = self.weight[first:].astype(np.float64)
        heard = np.cumsum(weight)
        # exp(-(heard_n - heard_i) / span) is what is left of state i at n; the part of n cancels.
        grown = weight * np.exp(heard / self.span)
        total = np.cumsum(self.logits[first:] * grown[:, None, None], axis=0)
        means = total / np.cumsum(grown)[:, None, None]
        return means.astype(np.float32), heard > 1.0


@dataclass(frozen=True)
class EvidenceScale:
    """How clips differ in what the classifiers say of them.

    Attributes:
        mean: of the clips, ``(layers, labels) float32``.
        deviation: the same of their deviation.
        temperature: that makes the classifiers' probabilities honest on speakers whom they
            have not heard.
    """

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    temperature: float

    @classmethod
    def fit(
        cls,
        clips: NDArray[np.float32],
        labelled: NDArray[np.float32],
        truth: NDArray[np.int64],
    ) -> EvidenceScale:
        """From the mean logits of all voices of all clips, and of those with a label.

        Args:
            clips: ``(voices, layers, labels)``.
            labelled: ``(clips, layers, labels)``.
            truth: ``(clips,)`` label indices.
        """

        def surprise(temperature: float) -> float:
            share = vote(labelled / temperature)[np.arange(len(truth)), truth]
            return float(-np.log(np.maximum(share, 1e-9)).mean())

        return cls(clips.mean(axis=0), clips.std(axis=0) + 1e-6, min(_TEMPERATURES, key=surprise))

    def __call__(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(…, layers, labels)`` in deviations from the mean."""
        scaled: NDArray[np.float32] = (logits - self.mean) / self.deviation
        return scaled

    def verdict(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities ``(…, labels)`` of the layers' vote on ``(…, layers, labels)``."""
        return vote(logits / np.float32(self.temperature))


def vote(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over the layers of their probabilities: ``(…, layers, labels)`` to ``(…, labels)``."""
    mean: NDArray[np.float32] = softmax(logits).mean(axis=-2).astype(np.float32)
    return mean


def clip_means(evidence: Sequence[Evidence]) -> NDArray[np.float32]:
    """Mean logits of each voice's speech, ``(voices, layers, labels)``."""
    return np.stack([np.average(one.logits, axis=0, weights=one.weight) for one in evidence])
