"""What a whole clip's features are like: the vectors that linear members judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ser.corpora import Clip
from edge_ser.training.extract import Copies, extract
from edge_ser.training.semantic import open_encoder
from edge_ser.training.tracks import Spans, Track

__all__ = ["ClipVectors", "layer_statistics", "separate", "side_by_side"]

ClipVectors = Mapping[Clip, Sequence[Mapping[str, NDArray[np.float32]]]]
"""Of each voice of each clip, one vector for each discriminant by name."""


def separate(tracks: Mapping[str, Track], spans: Spans, clips: Sequence[Clip]) -> ClipVectors:
    """One vector for each discriminant of a vote, over the speech of each voice.

    ``semantic I`` is the mean state of an encoder's layer, ``whole clip`` what describes the
    clip as such (eGeMAPS), ``acoustic`` means and deviations of all other rows. The last one
    is only there where no encoder is: beside its layers it would not be worth its vote.
    """

    def vectors(clip: Clip, voice: int) -> dict[str, NDArray[np.float32]]:
        found: dict[str, NDArray[np.float32]] = {}
        for _, track in sorted(tracks.items()):
            array = track.values[clip][voice]
            if track.rate_hz is None:
                found["whole clip"] = array.astype(np.float32)
            elif array.ndim == 3:
                layers = _heard(array, spans[clip][voice], track.rate_hz).mean(axis=-1)
                found.update({f"semantic {layer}": state for layer, state in enumerate(layers)})
        if not any(name.startswith("semantic") for name in found):
            found["acoustic"] = _acoustic(tracks, spans, clip, voice)
        return found

    return {clip: [vectors(clip, voice) for voice in range(len(spans[clip]))] for clip in clips}


def side_by_side(
    tracks: Mapping[str, Track],
    spans: Spans,
    clips: Sequence[Clip],
    states: Mapping[Clip, Sequence[NDArray[np.float32]]] | None = None,
) -> ClipVectors:
    """All statistics of each voice as one vector, ``side by side``.

    Args:
        states: :func:`layer_statistics`, which stand in for the acoustic rows: beside them
            these added nothing on EmoDB and RAVDESS.
    """

    def vector(clip: Clip, voice: int) -> NDArray[np.float32]:
        rows = _acoustic(tracks, spans, clip, voice) if states is None else states[clip][voice]
        whole = [t.values[clip][voice] for t in tracks.values() if t.rate_hz is None]
        return np.concatenate([rows, *whole]).astype(np.float32)

    return {
        clip: [{"side by side": vector(clip, voice)} for voice in range(len(spans[clip]))]
        for clip in clips
    }


def layer_statistics(
    encoder: str, spans: Spans, cache: Path, copies: Copies
) -> dict[Clip, list[NDArray[np.float32]]]:
    """Mean and deviation over the speech of every layer of an encoder, for each voice.

    ``(2 * layers * width,)`` each. The states of one clip at a time are in memory.

    Args:
        encoder: see ``open_encoder``.
        spans: of the clips, with their copies.
        cache: folder where the states lie, or else are computed and put.
        copies: beside each clean clip, as many as ``spans`` has.
    """
    opened = open_encoder(encoder)
    found = {}
    for clip, parts in spans.items():
        voices = extract([clip], opened, cache, copies=copies, what="encoder states")[clip]
        found[clip] = [
            _mean_and_deviation(_heard(states.swapaxes(1, 2), span, opened.frame_rate_hz))
            for states, span in zip(voices, parts, strict=True)
        ]
    return found


def _acoustic(
    tracks: Mapping[str, Track], spans: Spans, clip: Clip, voice: int
) -> NDArray[np.float32]:
    rows = [
        _mean_and_deviation(_heard(array, spans[clip][voice], track.rate_hz))
        for _, track in sorted(tracks.items())
        if track.rate_hz is not None and (array := track.values[clip][voice]).ndim == 2
    ]
    return np.concatenate(rows)


def _mean_and_deviation(heard: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of ``(…, frames)``, as one vector."""
    both = np.concatenate([heard.mean(axis=-1), heard.std(axis=-1)], axis=-1)
    return both.reshape(-1).astype(np.float32)


def _heard(
    array: NDArray[np.generic], span: tuple[float, float], rate_hz: float
) -> NDArray[np.float32]:
    """The frames of ``(…, frames)`` within ``span`` (seconds), one at least."""
    begin, end = span
    first = min(round(begin * rate_hz), array.shape[-1] - 1)
    return array[..., first : max(first + 1, round(end * rate_hz))].astype(np.float32)
