"""Training and test batches of clips that are described by several kinds of features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_ser.corpora import Clip
from edge_ser.training.batches import speech_span

__all__ = [
    "Spans",
    "Track",
    "TrackBatch",
    "TrackBatches",
    "assemble",
    "known_labels",
    "speech_spans",
]

_MARGIN_S = 0.2  # silence that stays around the speech of a clip
_SHORTEST_S = 0.2

Spans = Mapping[Clip, Sequence[tuple[float, float]]]
"""Begin and end in seconds of the speech in a clip and in each of its copies."""


@dataclass(frozen=True)
class Track:
    """One kind of features of all clips.

    Attributes:
        values: per clip the clean array and those of its copies: ``(…, frames)`` with time
            last, or ``(rows,)`` for one vector a clip.
        rate_hz: frames per second, None for one vector a clip.
    """

    values: Mapping[Clip, Sequence[NDArray[Any]]]
    rate_hz: float | None

    def statistics(self, clips: Sequence[Clip]) -> tuple[Tensor, Tensor]:
        """Mean and deviation over the frames of all copies of ``clips``.

        One of each for every row, ``(rows,)``; of arrays with layers, layer after layer.
        """
        total: Any = 0.0
        squares: Any = 0.0
        count = 0
        for clip in clips:
            for array in self.values[clip]:
                frames = 1 if self.rate_hz is None else array.shape[-1]
                table = array.astype(np.float64).reshape(-1, frames)
                total = total + table.sum(axis=1)
                squares = squares + (table**2).sum(axis=1)
                count += table.shape[1]
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
        return torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()


@dataclass(frozen=True)
class TrackBatch:
    """A batch.

    Attributes:
        inputs: arguments of a model's ``forward`` by name: each track, and for a track with
            frames its mask ``(batch, frames) bool`` under ``NAME_mask``.
        target: ``(batch,) int64`` label indices.
        weight: ``(batch,) float32`` weight of each clip in the loss.
        known: ``(batch, labels) bool``, the labels that the clip's corpus has at all.
    """

    inputs: dict[str, Tensor]
    target: Tensor
    weight: Tensor
    known: Tensor


def known_labels(
    clips: Sequence[Clip], labels: tuple[str, ...], learnt: Sequence[Clip]
) -> NDArray[np.bool_]:
    """Which labels each clip's corpus has among the ``learnt`` clips, ``(clips, labels)``.

    All of them for a corpus that was not learnt from.
    """
    of_corpus: dict[str, set[str]] = {}
    for clip in learnt:
        of_corpus.setdefault(clip.corpus, set()).add(clip.label)
    every = set(labels)
    return np.array(
        [[label in of_corpus.get(clip.corpus, every) for label in labels] for clip in clips]
    )


def speech_spans(mel: Track, clips: Sequence[Clip]) -> dict[Clip, list[tuple[float, float]]]:
    """Where the speech lies, from log-mel rows, with a margin of silence around it."""
    assert mel.rate_hz is not None
    spans: dict[Clip, list[tuple[float, float]]] = {}
    for clip in clips:
        spans[clip] = []
        for array in mel.values[clip]:
            first, end = (frame / mel.rate_hz for frame in speech_span(array))
            length = array.shape[1] / mel.rate_hz
            spans[clip].append((max(0.0, first - _MARGIN_S), min(length, end + _MARGIN_S)))
    return spans


def assemble(
    tracks: Mapping[str, Track],
    clips: Sequence[Clip],
    copies: Sequence[int],
    windows: Sequence[tuple[float, float]],
) -> dict[str, Tensor]:
    """Inputs of a model: each clip's copy cut to its window (seconds) and padded with zeros."""
    lengths = [max(_SHORTEST_S, end - begin) for begin, end in windows]
    inputs: dict[str, Tensor] = {}
    for name, track in tracks.items():
        arrays = [track.values[clip][copy] for clip, copy in zip(clips, copies, strict=True)]
        if track.rate_hz is None:
            inputs[name] = torch.from_numpy(np.stack(arrays).astype(np.float32))
            continue
        # Frames follow from the seconds alone, so tracks of one rate have the same masks.
        frames = [max(1, round(length * track.rate_hz)) for length in lengths]
        stacked = np.zeros((len(clips), *arrays[0].shape[:-1], max(frames)), np.float32)
        mask = np.zeros((len(clips), max(frames)), np.bool_)
        for row, (array, n, (begin, _)) in enumerate(zip(arrays, frames, windows, strict=True)):
            first = min(round(begin * track.rate_hz), array.shape[-1] - 1)
            part = array[..., first : first + n]
            stacked[row, ..., : part.shape[-1]] = part
            mask[row, :n] = True
        inputs[name] = torch.from_numpy(stacked)
        inputs[f"{name}_mask"] = torch.from_numpy(mask)
    return inputs


class TrackBatches:
    """Random copies, crops and masks of training clips, every clip once an epoch.

    Args:
        tracks: features by the name of the model's argument.
        spans: of the speech, from :func:`speech_spans`.
        clips: the training clips.
        labels: of the model, in order.
        window_s: longest crop.
        batch_size: clips of a batch.
        n_masks: stretches of time that are blanked in each track, and bands of rows in those
            of ``banded`` (SpecAugment, Park et al. 2019).
        banded: tracks of which bands of rows are blanked too, with the value to fill in.
    """

    def __init__(
        self,
        tracks: Mapping[str, Track],
        spans: Spans,
        clips: Sequence[Clip],
        labels: tuple[str, ...],
        *,
        window_s: float,
        batch_size: int,
        n_masks: int = 2,
        banded: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.tracks, self.spans, self.clips = tracks, spans, tuple(clips)
        self.labels, self.window_s = labels, window_s
        self.batch_size = min(batch_size, len(clips))
        self.n_masks, self.banded = n_masks, dict(banded or {})
        counts: dict[tuple[str, str], int] = {}
        for clip in clips:
            counts[clip.corpus, clip.label] = counts.get((clip.corpus, clip.label), 0) + 1
        weights = np.array([counts[clip.corpus, clip.label] ** -0.5 for clip in clips])
        self._weights = (weights / weights.mean()).astype(np.float32)
        self._known = known_labels(self.clips, labels, self.clips)

    def __len__(self) -> int:
        return len(self.clips) // self.batch_size

    def epoch(self, rng: np.random.Generator) -> Iterator[TrackBatch]:
        """All clips in random order; what does not fill a last batch waits for another epoch."""
        order = rng.permutation(len(self.clips))[: len(self) * self.batch_size]
        for rows in order.reshape(-1, self.batch_size):
            yield self._batch(rows, rng)

    def _batch(self, rows: NDArray[np.int64], rng: np.random.Generator) -> TrackBatch:
        clips = [self.clips[row] for row in rows]
        copies = [int(rng.integers(len(self.spans[clip]))) for clip in clips]
        windows = []
        for clip, copy in zip(clips, copies, strict=True):
            begin, end = self.spans[clip][copy]
            spare = max(0.0, end - begin - self.window_s)
            begin += float(rng.uniform(0.0, spare)) if spare else 0.0
            windows.append((begin, min(end, begin + self.window_s)))
        inputs = assemble(self.tracks, clips, copies, windows)
        for name, track in self.tracks.items():
            if track.rate_hz is not None:
                self._mask(name, inputs[name], inputs[f"{name}_mask"], rng)
        target = torch.tensor([self.labels.index(clip.label) for clip in clips])
        weight, known = torch.from_numpy(self._weights[rows]), torch.from_numpy(self._known[rows])
        return TrackBatch(inputs, target, weight, known)

    def _mask(self, name: str, values: Tensor, mask: Tensor, rng: np.random.Generator) -> None:
        fill = self.banded.get(name)
        for row, length in zip(values, mask.sum(1).tolist(), strict=True):
            for _ in range(self.n_masks):
                width = int(rng.integers(0, length // 6 + 1))
                begin = int(rng.integers(0, length - width + 1))
                row[..., begin : begin + width] = 0.0 if fill is None else fill[:, None]
                if fill is not None:
                    width = int(rng.integers(0, len(fill) // 6 + 1))
                    low = int(rng.integers(0, len(fill) - width + 1))
                    row[low : low + width, :length] = fill[low : low + width, None]
