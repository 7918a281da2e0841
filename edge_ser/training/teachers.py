"""Train the whole-utterance models, the teachers, on one fold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from edge_ser.corpora import Clip, Fold, digest, validation_split
from edge_ser.corpora.folds import apart_from, random_validation_split
from edge_ser.files import replace_file, write_text
from edge_ser.models.cross_attention import CrossAttentionModel
from edge_ser.models.depth_weighted import DepthWeightedConfig, DepthWeightedModel
from edge_ser.training.finite import check_logits
from edge_ser.training.fit import fit
from edge_ser.training.linear_member import LinearMember
from edge_ser.training.processes import is_first
from edge_ser.training.progress import say
from edge_ser.training.results import FoldResult
from edge_ser.training.semantic import unfrozen_top
from edge_ser.training.student import mean_uar
from edge_ser.training.teacher_features import TeacherFeatures
from edge_ser.training.teacher_recipe import TeacherRecipe
from edge_ser.training.tracks import (
    TrackBatch,
    TrackBatches,
    assemble,
    known_labels,
)

__all__ = ["build_model", "predict", "train_teacher_fold"]

_CLIPS_AT_ONCE = 32
_LONGEST_S = 12.0
_NEVER = -1e4  # logit of a label that cannot be


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
    if recipe.unfreeze:
        model.tuned = unfrozen_top(recipe.encoder, recipe.unfreeze, recipe.layers)
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
    """Logits ``(clips, labels)`` of the speech of each clean clip, 12 s of it at most.

    Raises:
        InputError: one is no finite number.
    """
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
        verdicts = model(**{name: value.to(device) for name, value in inputs.items()})
        parts.append(verdicts.cpu().numpy())
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    logits = np.asarray(np.concatenate(parts)[back], np.float32)
    check_logits(logits)
    return logits


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
        extra: clips that are never tested on; those of the fold's test and validation
            speakers are left out.
        out: folder of the fold.
        resume: go on where a killed run was.
    """
    labels = recipe.config.labels
    split = random_validation_split if fold.protocol == "random" else validation_split
    train: Sequence[Clip] = fold.train
    held: Sequence[Clip] = ()
    if recipe.validation_share > 0:
        train, held = split(fold.train, recipe.validation_share, recipe.fit.seed)
    clips = [*train, *apart_from(extra, fold.test, held)]
    # The quick part first: what it cannot be fitted on is told before hours of training.
    linear = None
    if recipe.linear:
        linear = fit_linear(recipe, features, clips, known_speakers=fold.protocol == "random")
        if is_first():
            linear.save(out / "linear.safetensors")
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
            # The same encoder may lie elsewhere; another one may have taken its place.
            recipe={**recipe.to_dict(), "encoder": features.encoder},
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
    if linear is not None:
        votes = linear.logits(features.vectors, fold.test)
        parts = {"network": mean, "linear": torch.stack([chance(vote) for vote in votes]).mean(0)}
        mean = (parts["network"] + parts["linear"]) / 2
    if is_first():
        truth = torch.tensor([labels.index(clip.label) for clip in fold.test])
        heard = {"": mean, **parts}
        rights = [
            f"{name} {(p.argmax(1) == truth).float().mean():.1%}" for name, p in heard.items()
        ]
        say(f"fold {fold.index}: {', '.join(rights).strip()} of its test clips right")
    # The log of the mean probability serves as logits of the ensemble.
    return FoldResult(
        fold,
        _logs(mean),
        epoch,
        parts={name: _logs(part) for name, part in parts.items()},
        train_accuracy=float(np.mean(learnt)),
    )


def fit_linear(
    recipe: TeacherRecipe,
    features: TeacherFeatures,
    clips: Sequence[Clip],
    *,
    known_speakers: bool,
) -> LinearMember:
    """The linear member of ``recipe``, fitted on ``clips``.

    Args:
        recipe: with a linear member.
        features: of the clips.
        clips: the training clips.
        known_speakers: the clips to judge are of the same speakers, so that what is chosen
            among ``clips`` may be too.

    Raises:
        InputError: too few speakers to choose among.
        MissingExtra: scikit-learn is not installed.
    """
    labels = recipe.config.labels
    if recipe.linear == "vote":
        return LinearMember.vote(features.vectors, clips, labels)
    groups = [clip.path if known_speakers else clip.speaker for clip in clips]
    return LinearMember.wide(features.vectors, clips, labels, groups, recipe.fit.seed)


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
