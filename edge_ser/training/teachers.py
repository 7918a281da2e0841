"""Train the whole-utterance models, the teachers: features, one fold, checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from edge_ser.corpora import Clip, Fold, digest, validation_split
from edge_ser.corpora.folds import random_validation_split
from edge_ser.files import replace_file, write_text
from edge_ser.models.cross_attention import CrossAttentionConfig, CrossAttentionModel
from edge_ser.models.depth_weighted import DepthWeightedConfig, DepthWeightedModel
from edge_ser.training.acoustics import ACOUSTICS, Cepstral, Functionals, LogMelRows
from edge_ser.training.clip_statistics import LinearMember
from edge_ser.training.extract import Copies, extract
from edge_ser.training.fit import FitSettings, fit
from edge_ser.training.processes import is_first
from edge_ser.training.progress import say
from edge_ser.training.results import FoldResult
from edge_ser.training.semantic import encoder_states
from edge_ser.training.student import mean_uar
from edge_ser.training.tracks import (
    Spans,
    Track,
    TrackBatch,
    TrackBatches,
    assemble,
    known_labels,
    speech_spans,
)

__all__ = [
    "TeacherFeatures",
    "TeacherRecipe",
    "build_model",
    "load_features",
    "predict",
    "train_teacher_fold",
]

_CLIPS_AT_ONCE = 32
_LONGEST_S = 12.0
_NEVER = -1e4  # logit of a label that cannot be


@dataclass(frozen=True)
class TeacherRecipe:
    """Everything that decides how a teacher turns out.

    Attributes:
        model: ``cross-attention`` or ``depth-weighted``.
        config: shape of the model; what depends on the features is filled in from them.
        acoustic: acoustic branch of the cross-attention model, a name of ``ACOUSTICS``.
        encoder: speech encoder of the semantic branch, see ``open_encoder``.
        layers: its hidden states to take, None for all.
        functionals: give the cross-attention model's classifier the eGeMAPS functionals.
        copies: augmented copies of every training clip.
        rooms: other rooms, microphones and noise in the copies; without, only other voices.
        linear: a linear classifier on means and deviations of the same features has half of
            the say in the end, see ``LinearMember``.
        window_s: longest crop in training.
        members: models of different seeds whose probabilities are averaged.
        validation_share: of the training speakers (or clips, where folds are random) for the
            choice of the epoch; 0 keeps the averaged weights of the last epoch.
    """

    model: str
    config: CrossAttentionConfig | DepthWeightedConfig
    acoustic: str = "mfcc"
    encoder: str = "moonshine"
    layers: tuple[int, ...] | None = None
    functionals: bool = False
    copies: int = 0
    rooms: bool = True
    linear: bool = False
    window_s: float = 3.0
    batch_size: int = 8
    n_masks: int = 0
    smoothing: float = 0.1
    members: int = 1
    validation_share: float = 0.0
    fit: FitSettings = field(
        default_factory=lambda: FitSettings(epochs=40, learning_rate=1e-3, ema=0.995)
    )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "config": self.config.to_dict()}


@dataclass(frozen=True)
class TeacherFeatures:
    """What the model is given of each clip, and where the speech lies in it."""

    tracks: dict[str, Track]
    spans: Spans
    encoder: str | None = None

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
        OutputError: the disk is full; what was computed stays.
    """
    copies = Copies(recipe.copies, seed, rooms=recipe.rooms)

    def made(extractor: Any, what: str) -> dict[Clip, list[NDArray[Any]]]:
        return extract(clips, extractor, cache, copies=copies, what=what, skip_unreadable=skip)

    mel = Track(made(LogMelRows(), "log-mel"), 100.0)
    spans = speech_spans(mel, list(mel.values))
    if isinstance(recipe.config, DepthWeightedConfig):
        tracks = {"spectral": mel}
        cepstral = made(Cepstral(), "cepstra") if recipe.config.cepstral_rows else mel.values
        tracks["cepstral"] = Track(cepstral, 100.0)
        if not recipe.config.semantic_layers:
            return TeacherFeatures(tracks, spans)
        tracks["semantic"], encoder = _semantic(recipe, clips, cache, copies, skip=skip)
        return TeacherFeatures(tracks, spans, encoder)
    tracks = {}
    if recipe.acoustic == "logmel":
        tracks["acoustic"] = mel
    else:
        tracks["acoustic"] = Track(made(ACOUSTICS[recipe.acoustic](), recipe.acoustic), 100.0)
    tracks["semantic"], encoder = _semantic(recipe, clips, cache, copies, skip=skip)
    if recipe.functionals:
        tracks["utterance"] = Track(made(Functionals(), "eGeMAPS"), None)
    return TeacherFeatures(tracks, spans, encoder)


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


def build_model(
    recipe: TeacherRecipe, features: TeacherFeatures, clips: Sequence[Clip]
) -> CrossAttentionModel | DepthWeightedModel:
    """A fresh model that fits the features, standardised by the training ``clips``."""
    tracks, config = features.tracks, recipe.config
    if isinstance(config, DepthWeightedConfig):
        if config.semantic_layers:
            states = tracks["semantic"]
            layers, width = states.values[clips[0]][0].shape[:2]
            assert states.rate_hz is not None
            config = replace(
                config,
                semantic_layers=layers,
                semantic_width=width,
                semantic_rate_hz=states.rate_hz,
            )
        deep = DepthWeightedModel(config)
        for name, branch in (("spectral", deep.spectral), ("cepstral", deep.cepstral)):
            if branch is not None:
                branch.standardise.fit(*tracks[name].statistics(clips))
        if deep.semantic_input is not None:
            deep.semantic_input.standardise.fit(*tracks["semantic"].statistics(clips))
        return deep
    first = {name: track.values[clips[0]][0] for name, track in tracks.items()}
    config = replace(
        config,
        acoustic_rows=first["acoustic"].shape[0],
        semantic_layers=first["semantic"].shape[0],
        semantic_width=first["semantic"].shape[1],
        utterance_rows=first["utterance"].shape[0] if "utterance" in first else 0,
    )
    model = CrossAttentionModel(config)
    model.standardise.fit(*tracks["acoustic"].statistics(clips))
    model.semantic_standardise.fit(*tracks["semantic"].statistics(clips))
    if "utterance" in tracks:
        model.utterance_standardise.fit(*tracks["utterance"].statistics(clips))
    return model


@dataclass(frozen=True)
class TeacherLoss:
    """Cross-entropy with smoothed labels; rare labels of a corpus weigh more.

    Where corpora of different labels are learnt together, a clip is only asked to tell apart
    the labels of its own corpus.
    """

    smoothing: float

    def __call__(self, model: nn.Module, batch: TrackBatch, _: np.random.Generator) -> Tensor:
        """Scalar loss of ``batch``."""
        scores: Tensor = model(**batch.inputs).masked_fill(~batch.known, _NEVER).log_softmax(1)
        right = scores.gather(1, batch.target[:, None])[:, 0]
        even = (scores * batch.known).sum(1) / batch.known.sum(1)
        losses = -(1 - self.smoothing) * right - self.smoothing * even
        loss: Tensor = (losses * batch.weight).sum() / batch.weight.sum()
        return loss


@torch.no_grad()
def predict(
    model: nn.Module, features: TeacherFeatures, clips: Sequence[Clip]
) -> NDArray[np.float32]:
    """Logits ``(clips, labels)`` of the speech of each clean clip."""
    device = next(model.parameters()).device
    # Clips of like length side by side: little padding, and the same result as one by one.
    length = [features.spans[clip][0][1] - features.spans[clip][0][0] for clip in clips]
    order = np.argsort(length, kind="stable")
    parts = []
    for start in range(0, len(order), _CLIPS_AT_ONCE):
        some = [clips[i] for i in order[start : start + _CLIPS_AT_ONCE]]
        windows = []
        for clip in some:
            begin, end = features.spans[clip][0]
            windows.append((begin, min(end, begin + _LONGEST_S)))
        inputs = assemble(features.tracks, some, [0] * len(some), windows)
        logits = model(**{name: value.to(device) for name, value in inputs.items()})
        parts.append(logits.cpu().numpy())
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return np.asarray(np.concatenate(parts)[back], np.float32)


def train_teacher_fold(
    recipe: TeacherRecipe,
    features: TeacherFeatures,
    fold: Fold,
    extra: Sequence[Clip],
    out: Path,
    *,
    resume: bool,
) -> FoldResult:
    """Train the members on a fold and predict its test clips.

    Checkpoints ``member0.safetensors`` and so on go to ``out``. A member that is complete is
    not trained again on resume.

    Args:
        recipe: what to train.
        features: of all clips of the fold and of ``extra``.
        fold: the split.
        extra: clips of corpora that are never tested on.
        out: folder of the fold.
        resume: go on where a killed run was.
    """
    labels = recipe.config.labels
    split = random_validation_split if fold.protocol == "random" else validation_split
    train: Sequence[Clip] = fold.train
    held: Sequence[Clip] = ()
    if recipe.validation_share > 0:
        train, held = split(fold.train, recipe.validation_share, recipe.fit.seed)
    clips = [*train, *extra]
    banded = {
        name: track.statistics(clips)[0]
        for name, track in features.tracks.items()
        if name != "semantic" and track.rate_hz is not None
    }
    batches = TrackBatches(
        features.tracks,
        features.spans,
        clips,
        labels,
        window_s=recipe.window_s,
        batch_size=recipe.batch_size,
        n_masks=recipe.n_masks,
        banded=banded,
    )

    def validate(model: nn.Module) -> float:
        return mean_uar(known(predict(model, features, held), held), held, labels)

    def known(logits: NDArray[np.float32], some: Sequence[Clip]) -> NDArray[np.float32]:
        return np.where(known_labels(some, labels, clips), logits, np.float32(_NEVER))

    def chance(logits: NDArray[np.float32]) -> Tensor:
        return F.softmax(torch.from_numpy(known(logits, fold.test)), -1)

    right = np.array([labels.index(clip.label) for clip in clips])
    chances, epoch, learnt = [], 0, list[float]()
    for member in range(recipe.members):
        settings = replace(recipe.fit, seed=recipe.fit.seed + member)
        name = f"fold {fold.index}" + (f" member {member}" if recipe.members > 1 else "")
        torch.manual_seed(settings.seed)
        model = build_model(recipe, features, clips)
        fitted = fit(
            model,
            batches,
            TeacherLoss(recipe.smoothing),
            validate if held else None,
            settings,
            out / f"state{member}.pt",
            resume=resume,
            heard=digest(clips, recipe.config.labels),
            name=name,
        )
        epoch = max(epoch, fitted.epoch)
        chances.append(chance(predict(model, features, fold.test)))
        said = known(predict(model, features, clips), clips).argmax(1)
        learnt.append(float(np.mean(said == right)))
        facts = {
            "protocol": fold.protocol,
            "fold": fold.index,
            "epoch": fitted.epoch,
            "seed": settings.seed,
            "train_speakers": sorted({clip.speaker for clip in clips}),
            "validation_speakers": sorted({clip.speaker for clip in held}),
            "test_speakers": sorted({clip.speaker for clip in fold.test}),
            "encoder": features.encoder,
            "recipe": recipe.to_dict(),
        }
        if is_first():
            say(f"{name}: {100 * learnt[-1]:.1f} % of its training clips right")
            save_teacher(model, recipe.model, facts, out / f"member{member}.safetensors")
            write_text(out / f"history{member}.json", json.dumps(fitted.history, indent=1))
    mean = torch.stack(chances).mean(0)
    parts: dict[str, Tensor] = {}
    if recipe.linear:
        linear = LinearMember.fit(features.tracks, features.spans, clips, labels)
        if is_first():
            linear.save(out / "linear.safetensors")
        votes = linear.logits(features.tracks, features.spans, fold.test)
        parts = {"network": mean, "linear": torch.stack([chance(vote) for vote in votes]).mean(0)}
        mean = (parts["network"] + parts["linear"]) / 2
    # The log of the mean probability serves as logits of the ensemble.
    return FoldResult(
        fold,
        _logs(mean),
        epoch,
        parts={name: _logs(part) for name, part in parts.items()},
        train_accuracy=float(np.mean(learnt)),
    )


def _logs(chances: Tensor) -> NDArray[np.float32]:
    return np.asarray(chances.clamp(min=1e-8).log().numpy(), np.float32)


def save_teacher(
    model: CrossAttentionModel | DepthWeightedModel, name: str, facts: dict[str, Any], path: Path
) -> None:
    """Write weights and description so that the file is there whole or not at all."""
    description = {"model": name, "version": 2, "config": model.config.to_dict(), "training": facts}
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    with replace_file(path) as file:
        file.write(save(tensors, {"edge-ser": json.dumps(description)}))
