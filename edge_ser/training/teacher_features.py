"""What the whole-utterance models and their linear members are given of each clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edge_ser.corpora import Clip
from edge_ser.models.depth_weighted import DepthWeightedConfig
from edge_ser.training.acoustics import ACOUSTICS, Cepstral, Functionals, LogMelRows
from edge_ser.training.clip_statistics import (
    ClipVectors,
    layer_statistics,
    separate,
    side_by_side,
)
from edge_ser.training.extract import Copies, extract
from edge_ser.training.semantic import encoder_states, unfrozen_top
from edge_ser.training.teacher_recipe import TeacherRecipe
from edge_ser.training.tracks import Spans, Track, speech_spans

__all__ = ["TeacherFeatures", "load_features"]

_LINEAR_VOICES = 3
"""Other voices in which the wide linear member hears each clip, whatever the network hears."""


@dataclass(frozen=True)
class TeacherFeatures:
    """What the model is given of each clip.

    Attributes:
        tracks: by the name of the model's argument.
        spans: where the speech lies.
        encoder: identity of the speech encoder, if there is one.
        vectors: for the linear member, if there is one.
    """

    tracks: dict[str, Track]
    spans: Spans
    encoder: str | None = None
    vectors: ClipVectors = field(default_factory=dict)

    def clips(self) -> list[Clip]:
        """The clips that could be read."""
        return list(self.spans)


def load_features(
    recipe: TeacherRecipe, clips: Sequence[Clip], cache: Path, *, seed: int, skip: bool = False
) -> TeacherFeatures:
    """Read or compute all features that ``recipe`` needs.

    Args:
        recipe: says which.
        clips: of every corpus.
        cache: folder of cached features.
        seed: of the augmented copies.
        skip: leave out unreadable clips instead of stopping.

    Raises:
        InputError: a clip cannot be read.
        UsageError: the encoder cannot be unfrozen as is asked.
        OutputError: the disk is full; what was computed stays.
    """
    if recipe.unfreeze:  # what cannot be unfrozen is told before long work
        unfrozen_top(recipe.encoder, recipe.unfreeze, recipe.layers)
    copies = Copies(recipe.copies, seed, rooms=recipe.rooms)
    tracks, spans, encoder = _heard(recipe, clips, cache, copies, skip=skip)
    vectors: ClipVectors = {}
    if recipe.linear == "vote":
        vectors = separate(_heard_by_network(recipe, tracks), spans, list(spans))
    elif recipe.linear == "wide":
        voices = Copies(_LINEAR_VOICES, seed, rooms=False)
        heard, parts = tracks, spans
        if copies != voices:
            heard, parts, _ = _heard(recipe, clips, cache, voices, skip=skip)
        states = layer_statistics(recipe.encoder, parts, cache, voices) if encoder else None
        vectors = side_by_side(_heard_by_network(recipe, heard), parts, list(parts), states)
    return TeacherFeatures(tracks, spans, encoder, vectors)


def _heard_by_network(recipe: TeacherRecipe, tracks: dict[str, Track]) -> dict[str, Track]:
    """The tracks without those of branches that the network does not have."""
    config = recipe.config
    if not isinstance(config, DepthWeightedConfig):
        return tracks
    rows = {"spectral": config.spectral_rows, "cepstral": config.cepstral_rows}
    return {name: track for name, track in tracks.items() if rows.get(name, 1)}


def _heard(
    recipe: TeacherRecipe, clips: Sequence[Clip], cache: Path, copies: Copies, *, skip: bool
) -> tuple[dict[str, Track], Spans, str | None]:
    """Tracks, spans and the identity of the speech encoder, if there is one."""
    encoder: str | None = None
    hears = not isinstance(recipe.config, DepthWeightedConfig) or recipe.config.semantic_layers
    if hears:  # first, for its file may be wrong
        semantic, encoder = _semantic(recipe, clips, cache, copies, skip=skip)

    def made(extractor: Any, what: str) -> dict[Clip, list[NDArray[Any]]]:
        return extract(clips, extractor, cache, copies=copies, what=what, skip_unreadable=skip)

    mel = Track(made(LogMelRows(), "log-mel"), 100.0)
    spans = speech_spans(mel, list(mel.values))
    if isinstance(recipe.config, DepthWeightedConfig):
        tracks = {"spectral": mel}
        cepstral = made(Cepstral(), "cepstra") if recipe.config.cepstral_rows else mel.values
        tracks["cepstral"] = Track(cepstral, 100.0)
        if hears:
            tracks["semantic"] = semantic
        return tracks, spans, encoder
    tracks = {}
    if recipe.acoustic == "logmel":
        tracks["acoustic"] = mel
    else:
        tracks["acoustic"] = Track(made(ACOUSTICS[recipe.acoustic](), recipe.acoustic), 100.0)
    tracks["semantic"] = semantic
    if recipe.functionals:
        tracks["utterance"] = Track(made(Functionals(), "eGeMAPS"), None)
    return tracks, spans, encoder


def _semantic(
    recipe: TeacherRecipe, clips: Sequence[Clip], cache: Path, copies: Copies, *, skip: bool
) -> tuple[Track, str]:
    """The encoder's states with time last, and the identity of the encoder."""
    states = encoder_states(
        clips, recipe.encoder, cache, layers=recipe.layers, copies=copies, skip_unreadable=skip
    )
    turned = {
        clip: [array.transpose(0, 2, 1) for array in arrays]
        for clip, arrays in states.values.items()
    }
    return Track(turned, states.frame_rate_hz), states.identity
