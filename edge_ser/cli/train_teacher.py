"""The part of ``edge-ser train`` for the published models and the linear baselines."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edge_ser.cli.bounds import layer_numbers, real, whole
from edge_ser.cli.learning import given
from edge_ser.errors import UsageError

if TYPE_CHECKING:
    from edge_ser.corpora import Clip, Fold
    from edge_ser.training.results import FoldResult
    from edge_ser.training.teacher_recipe import TeacherRecipe

__all__ = ["MODELS", "add_arguments", "idle_flags", "run"]

BRANCHES = ("spectral", "cepstral", "semantic")
MODELS = ("cross-attention", "depth-weighted", "baseline-egemaps", "baseline-encoder")

_NETWORK = ("width", "copies", "no_rooms", "linear", "members", "validation", "skip_unreadable")
_ENCODER = ("encoder", "layers")
_CROSS = (
    "acoustic", "functionals", "pool", "unfreeze", "unfreeze_rate", "one_way",
    "no_feature_encoder",
)  # fmt: skip
_DEEP = ("fusion", "depth_weights", "depths", "branch")
_HEEDED = {
    "cross-attention": (*_NETWORK, *_ENCODER, *_CROSS),
    "depth-weighted": (*_NETWORK, *_ENCODER, *_DEEP),
    "baseline-egemaps": ("skip_unreadable",),
    "baseline-encoder": ("skip_unreadable", *_ENCODER),
}
"""Of the flags here, those that a model heeds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the models in ``MODELS``."""
    both = parser.add_argument_group("cross-attention and depth-weighted")
    both.add_argument(
        "--width",
        type=whole(8, 4096),
        metavar="N",
        help="channels, a multiple of 32 (default: full size, 256 and 128)",
    )
    both.add_argument("--copies", type=int, default=0, metavar="N", help="augmented copies a clip")
    both.add_argument(
        "--no-rooms", action="store_true", help="copies are other voices only, without noise"
    )
    both.add_argument(
        "--linear",
        nargs="?",
        const="vote",
        default="",
        choices=["vote", "wide"],
        help="linear discriminants have half of the say: a vote of one for each layer (default), "
        "or one that hears means and deviations of all layers side by side in four voices (wide), "
        "better where the speakers are known",
    )
    both.add_argument("--members", type=int, default=1, metavar="N", help="seeds averaged a fold")
    both.add_argument(
        "--validation",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of the training speakers, to choose the epoch on (default: 0, the last epoch)",
    )
    both.add_argument(
        "--skip-unreadable", action="store_true", help="leave out clips that cannot be read"
    )
    cross = parser.add_argument_group("cross-attention, baseline-encoder, a semantic branch")
    cross.add_argument(
        "--encoder",
        default="moonshine",
        metavar="E",
        help="moonshine, a .ort or .onnx file, a transformers name or folder (default: moonshine)",
    )
    cross.add_argument(
        "--layers",
        type=layer_numbers,
        metavar="I,J,…",
        help="hidden states to take (default: all)",
    )
    cross.add_argument(
        "--acoustic",
        default="mfcc",
        choices=["mfcc", "spectrogram", "logmel"],
        help="(default: mfcc)",
    )
    cross.add_argument(
        "--functionals", action="store_true", help="eGeMAPS functionals at the classifier"
    )
    cross.add_argument(
        "--pool", type=int, default=1, metavar="N", help="tokens averaged into one (default: 1)"
    )
    cross.add_argument(
        "--unfreeze",
        type=whole(0, 100),
        default=0,
        metavar="N",
        help="also train the last N blocks of a wav2vec2 or hubert encoder, cross-attention only "
        "(default: 0)",
    )
    cross.add_argument(
        "--unfreeze-rate",
        type=real(above=True),
        metavar="R",
        help="their learning rate (default: 1e-5)",
    )
    cross.add_argument("--one-way", action="store_true", help="only the acoustic branch attends")
    cross.add_argument(
        "--no-feature-encoder",
        action="store_true",
        help="acoustic frames are only projected, without convolutions, as in CA-SER",
    )
    deep = parser.add_argument_group("depth-weighted")
    deep.add_argument(
        "--fusion",
        default="parallel",
        choices=["parallel", "progressive"],
        help="whether a depth's fusion hears that of the depth before it (default: parallel)",
    )
    deep.add_argument(
        "--depth-weights",
        default="static",
        choices=["static", "dynamic", "uniform"],
        help="learnt constants, decided by each clip, or all equal (default: static)",
    )
    deep.add_argument(
        "--depths",
        default="shallow,intermediate,high",
        metavar="D,…",
        help="the depths that are fused (default: shallow,intermediate,high)",
    )
    deep.add_argument(
        "--branch",
        type=_branches,
        default=BRANCHES[:2],
        metavar="B,…",
        help="any of spectral, cepstral and semantic, the last hearing --encoder, or both for the "
        "first two (default: both)",
    )


def idle_flags(options: argparse.Namespace) -> list[str]:
    """Of the flags here, those that were given and that the chosen model would not heed."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    heeded = _HEEDED.get(options.model, ())
    return [
        flag
        for flag in (*_NETWORK, *_ENCODER, *_CROSS, *_DEEP)
        if flag not in heeded and getattr(options, flag) != parser.get_default(flag)
    ]


def _branches(text: str) -> tuple[str, ...]:
    if text == "both":
        return BRANCHES[:2]
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in BRANCHES:
            raise argparse.ArgumentTypeError(
                f"{name!r} is no branch; there are {', '.join(BRANCHES)}, and both"
            )
    return names


def run(
    options: argparse.Namespace,
    folds: Sequence[Fold],
    extra: Sequence[Clip],
    labels: tuple[str, ...],
) -> tuple[list[FoldResult], dict[str, Any]]:
    """Train on each of ``folds``; the results, and what to note beside them."""
    from edge_ser.training.progress import say

    tested = {clip.speaker for fold in folds for clip in fold.test}
    apart = sum(clip.speaker in tested for clip in extra)
    if apart:
        say(f"{apart} extra clips are left out of each fold in which their speakers are tested")
    heard = {clip for fold in folds for clip in (*fold.train, *fold.test)} | set(extra)
    clips = sorted(heard, key=lambda clip: (clip.corpus, clip.path))
    cache = options.cache or options.out / "cache"
    if options.model.startswith("baseline-"):
        from edge_ser.training.baselines import baseline_vectors, linear_fold

        vectors = baseline_vectors(
            options.model,
            clips,
            cache,
            encoder=options.encoder,
            layers=options.layers,
            skip=options.skip_unreadable,
        )
        folds, extra = _readable(folds, extra, vectors, labels)
        size = len(next(iter(vectors.values()))) * len(labels) + len(labels)
        facts = {"encoder": options.encoder, "layers": options.layers, "parameters": size}
        if options.model == "baseline-egemaps":
            facts = {"parameters": size}
        return [linear_fold(vectors, fold, extra, labels) for fold in folds], facts
    from edge_ser.training.processes import is_first, wait_for_first
    from edge_ser.training.teacher_features import load_features
    from edge_ser.training.teachers import build_model, train_teacher_fold

    recipe = _recipe(options, labels)
    # Of several processes the first fills the cache, the others then read it.
    if not is_first():
        wait_for_first()
    features = load_features(recipe, clips, cache, seed=options.seed, skip=options.skip_unreadable)
    if is_first():
        wait_for_first()
    folds, extra = _readable(folds, extra, features.spans, labels)
    results = [
        train_teacher_fold(
            recipe,
            features,
            fold,
            extra,
            options.out / f"fold{fold.index}",
            resume=options.resume,
        )
        for fold in folds
    ]
    model = build_model(recipe, features, folds[0].test)
    return results, {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "members": options.members,
        "recipe": recipe.to_dict(),
    }


def _readable(
    folds: Sequence[Fold], extra: Sequence[Clip], found: Any, labels: tuple[str, ...]
) -> tuple[list[Fold], list[Clip]]:
    """Folds and extra clips without what could not be read.

    Raises:
        InputError: a fold cannot be learnt from or judged any more.
    """
    from dataclasses import replace

    from edge_ser.corpora.folds import check_classes

    kept = [
        replace(
            fold,
            train=tuple(clip for clip in fold.train if clip in found),
            test=tuple(clip for clip in fold.test if clip in found),
        )
        for fold in folds
    ]
    check_classes(kept, labels)
    return kept, [clip for clip in extra if clip in found]


def _recipe(options: argparse.Namespace, labels: tuple[str, ...]) -> TeacherRecipe:
    from dataclasses import replace

    from edge_ser.models.cross_attention import CrossAttentionConfig
    from edge_ser.models.depth_weighted import DepthWeightedConfig
    from edge_ser.training.teacher_recipe import TeacherRecipe

    for flag, least in (("members", 1), ("copies", 0)):
        if getattr(options, flag) < least:
            raise UsageError(f"--{flag.replace('_', '-')} must be at least {least}")
    if not 0 <= options.validation <= 0.5:
        raise UsageError(f"--validation must be between 0 and 0.5, got {options.validation}")
    width = {}
    if options.width is not None:  # heads of 32 channels, as at full size
        width = {"width": options.width, "heads": max(1, options.width // 32)}
    dropouts = given(options, dropout="dropout", head_dropout="head_dropout")
    config: CrossAttentionConfig | DepthWeightedConfig
    try:
        if options.model == "cross-attention":
            config = CrossAttentionConfig(
                labels=labels,
                two_way=not options.one_way,
                feature_encoder=not options.no_feature_encoder,
                pool=options.pool,
                **dropouts,
                **width,
                **({"feed_forward": 2 * options.width} if width else {}),
            )
        else:
            config = DepthWeightedConfig(
                labels=labels,
                spectral_rows=64 if "spectral" in options.branch else 0,
                cepstral_rows=60 if "cepstral" in options.branch else 0,
                # How many layers and values they have is known when they are computed.
                semantic_layers=int("semantic" in options.branch),
                fusion=options.fusion,
                depth_weights=options.depth_weights,
                depths=tuple(part.strip() for part in options.depths.split(",")),
                **dropouts,
                **width,
            )
    except ValueError as error:
        raise UsageError(str(error)) from error
    recipe = TeacherRecipe(
        model=options.model,
        config=config,
        acoustic=options.acoustic,
        encoder=options.encoder,
        layers=options.layers,
        unfreeze=options.unfreeze,
        functionals=options.functionals,
        copies=options.copies,
        rooms=not options.no_rooms,
        linear=options.linear,
        **given(options, batch_size="batch_size", masks="n_masks"),
        members=options.members,
        validation_share=options.validation,
    )
    chosen = given(
        options,
        epochs="epochs",
        learning_rate="learning_rate",
        ema="ema",
        weight_decay="weight_decay",
        unfreeze_rate="tuned_rate",
    )
    return replace(recipe, fit=replace(recipe.fit, seed=options.seed, **chosen))
