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
from edge_ser.training.discriminant import Discriminant
from edge_ser.training.tracks import Spans, Track

__all__ = ["LinearMember", "clip_vectors"]

Vectors = dict[str, NDArray[np.float32]]


def clip_vectors(
    tracks: Mapping[str, Track], spans: Spans, clip: Clip, copy: int, *, deviations: bool = False
) -> Vectors:
    """Statistics over the speech of a clip's copy, one vector for each discriminant.

    ``semantic I`` is the mean state of an encoder's layer, ``whole clip`` what describes the
    clip as such (eGeMAPS), ``acoustic`` means and deviations of all other rows. The last one
    is only there where no encoder is: beside its layers it would not be worth its vote.

    Args:
        deviations: the layers' deviations beside their means, and ``acoustic`` in any case.
            That tells known speakers' clips apart and misleads on those of others.
    """
    begin, end = spans[clip][copy]
    found: Vectors = {}
    acoustic = []
    for name in sorted(tracks):
        track = tracks[name]
        array = track.values[clip][copy]
        if track.rate_hz is None:
            found["whole clip"] = array.astype(np.float32)
            continue
        first = min(round(begin * track.rate_hz), array.shape[-1] - 1)
        heard = array[..., first : max(first + 1, round(end * track.rate_hz))].astype(np.float32)
        mean = heard.mean(axis=-1)
        if array.ndim == 3:
            layers = np.concatenate([mean, heard.std(axis=-1)], axis=-1) if deviations else mean
            found.update({f"semantic {layer}": state for layer, state in enumerate(layers)})
        else:
            acoustic += [mean, heard.std(axis=-1)]
    heard_by_encoder = any(name.startswith("semantic") for name in found)
    if acoustic and (deviations or not heard_by_encoder):
        found["acoustic"] = np.concatenate(acoustic)
    return found


@dataclass(frozen=True)
class LinearMember:
    """One discriminant for each kind of vector; their probabilities are averaged.

    They have no setting that could be tuned on test clips. With a few hundred clips a vote
    of the layers, each with its own discriminant, errs less than one discriminant on all of
    them side by side.
    """

    labels: tuple[str, ...]
    parts: Mapping[str, Discriminant]
    deviations: bool = False

    @classmethod
    def fit(
        cls,
        tracks: Mapping[str, Track],
        spans: Spans,
        clips: Sequence[Clip],
        labels: tuple[str, ...],
        *,
        deviations: bool = False,
    ) -> LinearMember:
        """Fit on every copy of ``clips``; ``deviations`` as in :func:`clip_vectors`.

        Raises:
            MissingExtra: scikit-learn is not installed.
        """
        drawn = [(clip, copy) for clip in clips for copy in range(len(spans[clip]))]
        rows = [
            clip_vectors(tracks, spans, clip, copy, deviations=deviations) for clip, copy in drawn
        ]
        truth = np.array([labels.index(clip.label) for clip, _ in drawn])
        return cls(
            labels,
            {
                name: Discriminant.fit(np.stack([row[name] for row in rows]), truth, len(labels))
                for name in rows[0]
            },
            deviations,
        )

    def logits(
        self, tracks: Mapping[str, Track], spans: Spans, clips: Sequence[Clip]
    ) -> list[NDArray[np.float32]]:
        """``(clips, labels)`` of the clean clips from each discriminant."""
        rows = [clip_vectors(tracks, spans, clip, 0, deviations=self.deviations) for clip in clips]
        return [
            part(np.stack([row[name] for row in rows])).astype(np.float32)
            for name, part in self.parts.items()
        ]

    def save(self, path: Path) -> None:
        """Write ``path`` so that it is there whole or not at all."""
        tensors = {
            f"{name}.{key}": value
            for name, part in self.parts.items()
            for key, value in vars(part).items()
        }
        about = {
            "model": "linear-member",
            "version": 2,
            "labels": list(self.labels),
            "deviations": self.deviations,
        }
        with replace_file(path) as file:
            file.write(save(tensors, {"edge-ser": json.dumps(about)}))
