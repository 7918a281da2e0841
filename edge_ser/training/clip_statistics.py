"""A linear member of an ensemble: discriminants of what a whole clip's features are like."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from edge_ser.corpora import Clip
from edge_ser.files import replace_file
from edge_ser.training.readout import linear_classifier
from edge_ser.training.tracks import Spans, Track

__all__ = ["LinearMember", "clip_vector"]


def clip_vector(
    tracks: Mapping[str, Track], spans: Spans, clip: Clip, copy: int
) -> NDArray[np.float32]:
    """Mean and deviation of every row over the speech of a clip's copy, ``(values,)``.

    Tracks without frames go in as they are.
    """
    begin, end = spans[clip][copy]
    parts = []
    for name in sorted(tracks):
        track = tracks[name]
        array = track.values[clip][copy]
        if track.rate_hz is None:
            parts.append(array.ravel())
            continue
        rows = array.reshape(-1, array.shape[-1])
        first = min(round(begin * track.rate_hz), rows.shape[1] - 1)
        heard = rows[:, first : max(first + 1, round(end * track.rate_hz))].astype(np.float32)
        parts += [heard.mean(axis=1), heard.std(axis=1)]
    return np.concatenate(parts).astype(np.float32)


@dataclass(frozen=True)
class LinearMember:
    """Discriminants with shrinkage: ``logits = weight @ (vector - mean) / scale + bias``.

    It has no setting that could be tuned on test clips, and few ways to learn speakers by
    heart; its mistakes are others than those of a network trained by descent.
    """

    labels: tuple[str, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        tracks: Mapping[str, Track],
        spans: Spans,
        clips: Sequence[Clip],
        labels: tuple[str, ...],
    ) -> LinearMember:
        """Fit on every copy of ``clips``.

        Raises:
            MissingExtra: scikit-learn is not installed.
        """
        drawn = [(clip, copy) for clip in clips for copy in range(len(spans[clip]))]
        vectors = np.stack([clip_vector(tracks, spans, clip, copy) for clip, copy in drawn])
        model = linear_classifier(len(labels))
        model.fit(vectors, np.array([labels.index(clip.label) for clip, _ in drawn]))
        scaler, found = model[0], model[1]
        weight, bias = found.coef_, found.intercept_
        if len(weight) == 1:  # two labels have one discriminant
            weight = np.concatenate([-weight, weight]) / 2
            bias = np.concatenate([-bias, bias]) / 2
        return cls(labels, scaler.mean_, scaler.scale_, weight, bias)

    def logits(
        self, tracks: Mapping[str, Track], spans: Spans, clips: Sequence[Clip]
    ) -> NDArray[np.float32]:
        """``(clips, labels)`` of the clean clips."""
        vectors = np.stack([clip_vector(tracks, spans, clip, 0) for clip in clips])
        found = (vectors - self.mean) / self.scale @ self.weight.T + self.bias
        return np.asarray(found, np.float32)

    def save(self, path: Path) -> None:
        """Write ``path`` so that it is there whole or not at all."""
        tensors = {name: getattr(self, name) for name in ("mean", "scale", "weight", "bias")}
        about = {"model": "linear-member", "version": 1, "labels": list(self.labels)}
        with replace_file(path) as file:
            file.write(save(tensors, {"edge-ser": json.dumps(about)}))
