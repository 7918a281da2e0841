"""A linear member of an ensemble: discriminants of what a whole clip's features are like."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from edge_ser.corpora import Clip
from edge_ser.files import replace_file
from edge_ser.training.clip_statistics import ClipVectors
from edge_ser.training.discriminant import Discriminant
from edge_ser.training.progress import say
from edge_ser.training.shrinkage import fit_shrunken

__all__ = ["KINDS", "LinearMember"]

KINDS = ("vote", "wide")
"""Discriminants of each layer that vote, or one of everything side by side."""


@dataclass(frozen=True)
class LinearMember:
    """Discriminants whose probabilities are averaged.

    They have no setting that could be tuned on test clips.

    Attributes:
        labels: in the order of the logits.
        parts: by the name of the vector that each judges.
        every_voice: a test clip's logits are the mean over its voices, not of the clean one.
    """

    labels: tuple[str, ...]
    parts: Mapping[str, Discriminant]
    every_voice: bool = False

    @classmethod
    def vote(
        cls, vectors: ClipVectors, clips: Sequence[Clip], labels: tuple[str, ...]
    ) -> LinearMember:
        """Fit a discriminant on each kind of vector of all voices of ``clips``.

        On speakers that nobody has heard a vote of the layers errs less than one
        discriminant on all of them side by side.

        Raises:
            MissingExtra: scikit-learn is not installed.
        """
        rows = [voice for clip in clips for voice in vectors[clip]]
        truth = np.array([labels.index(clip.label) for clip in clips for _ in vectors[clip]])
        return cls(
            labels,
            {
                name: Discriminant.fit(np.stack([row[name] for row in rows]), truth, len(labels))
                for name in rows[0]
            },
        )

    @classmethod
    def wide(
        cls,
        vectors: ClipVectors,
        clips: Sequence[Clip],
        labels: tuple[str, ...],
        groups: Sequence[Hashable],
        seed: int,
    ) -> LinearMember:
        """Fit one discriminant, its shrinkage and temperature chosen among ``clips``.

        On known speakers it errs less than the vote.

        Args:
            vectors: one vector a voice.
            clips: to fit on.
            labels: in the order of the logits.
            groups: of each clip, left out together where shrinkages are compared.
            seed: of that comparison.

        Raises:
            InputError: too few speakers for the comparison.
        """
        (name,) = vectors[clips[0]][0]
        voices = np.stack([[voice[name] for voice in vectors[clip]] for clip in clips])
        truth = np.array([labels.index(clip.label) for clip in clips])
        fitted = fit_shrunken(voices, truth, groups, len(labels), seed)
        say(
            f"linear member: shrinkage {fitted.shrinkage}, temperature {fitted.temperature:.1f} "
            "(chosen among the training clips)"
        )
        return cls(labels, {name: fitted.discriminant}, every_voice=True)

    def logits(self, vectors: ClipVectors, clips: Sequence[Clip]) -> list[NDArray[np.float32]]:
        """``(clips, labels)`` from each discriminant."""
        found = []
        for name, part in self.parts.items():
            voices = np.stack(
                [[voice[name] for voice in self._voices(vectors, clip)] for clip in clips]
            )
            flat = part(voices.reshape(-1, voices.shape[-1]))
            found.append(flat.reshape(*voices.shape[:2], -1).mean(axis=1).astype(np.float32))
        return found

    def _voices(
        self, vectors: ClipVectors, clip: Clip
    ) -> Sequence[Mapping[str, NDArray[np.float32]]]:
        return vectors[clip] if self.every_voice else vectors[clip][:1]

    def save(self, path: Path) -> None:
        """Write ``path`` so that it is there whole or not at all."""
        tensors = {
            f"{name}.{key}": value
            for name, part in self.parts.items()
            for key, value in vars(part).items()
        }
        about = {
            "model": "linear-member",
            "version": 3,
            "labels": list(self.labels),
            "every_voice": self.every_voice,
        }
        with replace_file(path) as file:
            file.write(save(tensors, {"edge-ser": json.dumps(about)}))
