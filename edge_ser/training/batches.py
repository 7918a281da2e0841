"""Training batches of fixed length from a feature bank, and feature-level augmentation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_ser.corpora import Clip
from edge_ser.training.bank import FeatureBank
from edge_ser.training.warp import VocalTractWarp

__all__ = ["Batch", "ClipBatches", "padded_clips", "speech_span"]

_MARGIN_FRAMES = 24  # silence that stays around the speech of a training clip
_UNLABELLED_SHARE = 0.6  # how often a clip without a label is drawn, against one with


@dataclass(frozen=True)
class Batch:
    """A training batch.

    Attributes:
        mel: ``(batch, n_mels, frames) float32``.
        target: ``(batch, labels) float32`` label distribution, all zero for a clip without
            one of the labels.
        since: ``(batch, steps) int64`` steps since speech began, negative before.
        origin: ``(batch,) int64`` frame of the clip that stands at frame 0 of the row;
            negative where the clip begins later.
        clips: the clips, in order.
        voices: which voice of each clip is heard, see ``FeatureBank``.
    """

    mel: Tensor
    target: Tensor
    since: Tensor
    origin: Tensor
    clips: tuple[Clip, ...]
    voices: tuple[int, ...]


class ClipBatches:
    """Draws random voices, rooms, crops and masks of training clips, rare labels more often.

    A label of a corpus is drawn as often as the square root of its clips is large, and clips
    without a label at a share of that.

    Long silence around the speech is cut. A clip longer than ``frames`` is cropped at random;
    a shorter one is placed at random in digital silence, as live speech lies in a stream.

    Args:
        n_masks: masked bands of mel and of time each (SpecAugment, Park et al. 2019).
        clean_share: how often a voice is heard without another room.
        warp: largest change of the vocal tract's length, see ``VocalTractWarp``.
    """

    def __init__(
        self,
        bank: FeatureBank,
        clips: Sequence[Clip],
        labels: tuple[str, ...],
        *,
        frames: int,
        step_frames: int,
        batch_size: int,
        n_masks: int = 1,
        clean_share: float = 0.4,
        warp: float = 0.0,
    ) -> None:
        self.bank, self.clips, self.labels = bank, tuple(clips), labels
        self.frames, self.step_frames = frames, step_frames
        self.batch_size, self.n_masks, self.clean_share = batch_size, n_masks, clean_share
        self._warp = VocalTractWarp(bank.spec, warp)
        kinds = [(clip.corpus, clip.label if clip.label in labels else "") for clip in clips]
        counts = Counter(kinds)
        self._spans = {
            clip: [speech_span(rooms[0]) for rooms in bank.features[clip]] for clip in clips
        }
        weights = np.array(
            [counts[kind] ** -0.5 * (1.0 if kind[1] else _UNLABELLED_SHARE) for kind in kinds]
        )
        self._weights: NDArray[np.float64] = weights / weights.sum()

    def __len__(self) -> int:
        return max(1, len(self.clips) // self.batch_size)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """One pass over about as many clips as there are."""
        n = len(self) * self.batch_size
        # Whole copies of the set in expectation, the remainder by weight: every clip is seen
        # about as often as its class is rare.
        expected = self._weights * n
        whole = np.floor(expected).astype(int)
        rest = expected - whole
        order = np.repeat(np.arange(len(self.clips)), whole)
        missing = n - len(order)
        if missing > 0:
            extra = rng.choice(
                len(self.clips), missing, replace=missing > len(self.clips), p=rest / rest.sum()
            )
            order = np.concatenate([order, extra])
        rng.shuffle(order)
        for start in range(0, n, self.batch_size):
            yield self._batch([self.clips[i] for i in order[start : start + self.batch_size]], rng)

    def _batch(self, clips: list[Clip], rng: np.random.Generator) -> Batch:
        silence = self.bank.spec.silence
        n_steps = self.frames // self.step_frames
        mel = np.full((len(clips), self.bank.spec.n_mels, self.frames), silence, np.float32)
        begin = np.zeros((len(clips), 1), np.int64)
        origin = np.zeros(len(clips), np.int64)
        voices = []
        target = np.zeros((len(clips), len(self.labels)), np.float32)
        for row, clip in enumerate(clips):
            voice = int(rng.integers(len(self.bank.features[clip])))
            rooms = self.bank.features[clip][voice]
            clean = len(rooms) == 1 or rng.random() < self.clean_share
            room = 0 if clean else int(rng.integers(1, len(rooms)))
            onset, end = self._spans[clip][voice]
            left = max(0, onset - _MARGIN_FRAMES)
            feature = rooms[room][:, left : end + _MARGIN_FRAMES].astype(np.float32)
            first, length, cut = self._place(self._warp(feature, rng), mel[row], rng)
            voices.append(voice)
            origin[row] = left + cut - first
            begin[row] = max(first, first + onset - left - cut) // self.step_frames
            self._mask(mel[row, :, first : first + length], rng)
            if clip.label in self.labels:
                target[row, self.labels.index(clip.label)] = 1.0
        since = torch.from_numpy(np.arange(n_steps) - begin)
        return Batch(
            torch.from_numpy(mel),
            torch.from_numpy(target),
            since,
            torch.from_numpy(origin),
            tuple(clips),
            tuple(voices),
        )

    def _place(
        self, feature: NDArray[np.float32], row: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[int, int, int]:
        """Put ``feature`` into ``row``; returns its first frame, its length and what was cut."""
        spare = self.frames - feature.shape[1]
        if spare >= 0:
            first = int(rng.integers(spare + 1))
            row[:, first : first + feature.shape[1]] = feature
            return first, feature.shape[1], 0
        cut = int(rng.integers(-spare + 1))
        row[:] = feature[:, cut : cut + self.frames]
        return 0, self.frames, cut

    def _mask(self, mel: NDArray[np.float32], rng: np.random.Generator) -> None:
        n_mels, length = mel.shape
        mean = float(mel.mean())
        for _ in range(self.n_masks):
            width = int(rng.integers(0, n_mels // 6 + 1))
            low = int(rng.integers(0, n_mels - width + 1))
            mel[low : low + width] = mean
            width = int(rng.integers(0, min(32, length // 6) + 1))
            begin = int(rng.integers(0, length - width + 1))
            mel[:, begin : begin + width] = mean


def speech_span(feature: NDArray[np.float16]) -> tuple[int, int]:
    """First frame of the louder part of a clip, and the one after its last.

    A frame is loud when its mean log-mel lies in the upper two thirds of the clip's range.
    """
    loudness = feature.astype(np.float32).mean(axis=0)
    low, high = np.percentile(loudness, [2, 98])
    loud = np.flatnonzero(loudness > low + (high - low) / 3)
    return (int(loud[0]), int(loud[-1]) + 1) if len(loud) else (0, feature.shape[1])


def padded_clips(
    features: Sequence[NDArray[np.float16]], silence: float, step_frames: int
) -> tuple[Tensor, NDArray[np.int64]]:
    """Whole clips side by side, padded with silence at their end.

    Returns:
        ``(batch, n_mels, frames) float32`` and per clip the index of its last step, the one
        whose verdict is final.
    """
    steps = [-(-feature.shape[1] // step_frames) for feature in features]
    mel = np.full(
        (len(features), features[0].shape[0], max(steps) * step_frames), silence, np.float32
    )
    for row, feature in zip(mel, features, strict=True):
        row[:, : feature.shape[1]] = feature
    return torch.from_numpy(mel), np.array(steps) - 1
