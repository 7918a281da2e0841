"""States of an encoder for many clips, every layer stored and the wanted ones kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.corpora import Clip
from edge_ser.errors import UsageError
from edge_ser.training.extract import Copies, extract
from edge_ser.training.semantic.encoder import open_encoder

__all__ = ["EncoderStates", "encoder_states"]


@dataclass(frozen=True)
class EncoderStates:
    """What an encoder hears in clips.

    Attributes:
        values: per clip the states ``(layers, frames, width) float16`` of the clean clip and
            then of its augmented copies.
        frame_rate_hz: states per second.
        identity: of the encoder, all layers.
        layers: indices of the layers that were kept.
    """

    values: dict[Clip, list[NDArray[np.float16]]]
    frame_rate_hz: float
    identity: str
    layers: tuple[int, ...]


def encoder_states(
    clips: Sequence[Clip],
    name: str,
    cache: Path,
    *,
    layers: Sequence[int] | None = None,
    copies: Copies | None = None,
    skip_unreadable: bool = False,
) -> EncoderStates:
    """Compute what the cache lacks, with all layers, and keep ``layers`` in memory.

    All layers are stored, so another choice of layers costs no second pass.

    Args:
        clips: of every corpus.
        name: of the encoder, see ``open_encoder``.
        cache: folder of cached features.
        layers: indices to keep, default all.
        copies: augmented copies beside each clean clip.
        skip_unreadable: leave out clips that cannot be read instead of stopping.

    Raises:
        UsageError: a layer that the encoder does not have.
        InputError: an encoder or clip that cannot be read.
        OutputError: the disk is full.
    """
    encoder = open_encoder(name)
    kept = tuple(range(encoder.n_layers) if layers is None else layers)
    for layer in kept:
        if not 0 <= layer < encoder.n_layers:
            raise UsageError(f"encoder {name} has layers 0 to {encoder.n_layers - 1}, not {layer}")

    def keep(states: NDArray[Any]) -> NDArray[Any]:
        return states[list(kept)]

    values = extract(
        clips,
        encoder,
        cache,
        copies=copies,
        what="encoder states",
        skip_unreadable=skip_unreadable,
        keep=None if layers is None else keep,
    )
    return EncoderStates(values, encoder.frame_rate_hz, encoder.identity, kept)
