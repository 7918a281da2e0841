"""``edge-ser train``: train a model on corpora."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_ser.cli.options import add_json, add_seed, corpus_folders, print_json
from edge_ser.errors import InputError, UsageError
from edge_ser.labels import SIX_LABELS, check_labels

if TYPE_CHECKING:
    from edge_ser.corpora import Clip, Fold
    from edge_ser.training.run_student import StudentRecipe

__all__ = ["add_arguments", "execute"]

SIZES = {
    "large": {"stem": 64, "trunk": 128, "heads": 8, "fused": 128},
    "medium": {"stem": 64, "trunk": 80, "heads": 5, "fused": 96},
    "small": {"stem": 32, "trunk": 48, "heads": 3, "fused": 64},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``train``."""
    parser.add_argument("model", choices=["student"], help="what to train")
    parser.add_argument(
        "--data",
        action="append",
        required=True,
        metavar="CORPUS=DIR",
        help="a corpus to train and test on; may be repeated",
    )
    parser.add_argument(
        "--extra",
        action="append",
        default=[],
        metavar="CORPUS=DIR",
        help="a corpus to train on only, for one with too few speakers to test on",
    )
    parser.add_argument(
        "--protocol", default="speaker-independent", choices=["speaker-independent", "random"]
    )
    parser.add_argument("--folds", type=int, default=4, metavar="N", help="(default: 4)")
    parser.add_argument(
        "--fold",
        metavar="K",
        help="only fold K (from 0), or 'all' to train on every speaker and test on none",
    )
    parser.add_argument("--labels", default=",".join(SIX_LABELS), metavar="A,B,…")
    parser.add_argument("--size", default="medium", choices=list(SIZES), help="(default: medium)")
    parser.add_argument("--epochs", type=int, metavar="N")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="(default: DIR of the run/cache)")
    parser.add_argument("--resume", action="store_true", help="go on where a killed run was")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N")
    add_seed(parser)
    add_json(parser)


def execute(options: argparse.Namespace) -> int:
    """Do what ``options`` ask."""
    _need_training_packages()
    from edge_ser.corpora import random_folds, speaker_folds
    from edge_ser.training.bank import FeatureBank
    from edge_ser.training.run_student import summarise, train_everything, train_fold

    labels = _labels(options.labels)
    recipe = _recipe(options, labels)
    tested = _clips(options.data, labels)
    extra = _clips(options.extra, labels)
    split = speaker_folds if options.protocol == "speaker-independent" else random_folds
    folds: list[Fold] = split(tested, options.folds, options.seed)
    chosen = _chosen(options.fold, len(folds))
    cache = options.cache or options.out / "cache"
    bank = FeatureBank.build(
        [*tested, *extra],
        recipe.frontend,
        copies=recipe.copies,
        seed=options.seed,
        cache=cache,
        workers=options.workers,
    )
    if options.fold == "all":
        calibration = _calibration(options.out)
        folder = options.out / "all"
        train_everything(
            recipe, bank, [*tested, *extra], calibration, folder, resume=options.resume
        )
        report: dict[str, Any] = {"checkpoint": str(folder / "checkpoint.safetensors")}
    else:
        results = [
            train_fold(
                recipe,
                bank,
                folds[index],
                extra,
                options.out / f"fold{index}",
                resume=options.resume,
            )
            for index in chosen
        ]
        report = summarise(results, labels, options.seed)
        if len(results) == len(folds):
            _write(options.out / "results.json", report)
    if options.json:
        print_json(report)
    else:
        _show(report)
    return 0


def _need_training_packages() -> None:
    from edge_ser.errors import MissingExtra

    for package in ("torch", "lightning_fabric", "safetensors", "soundfile"):
        try:
            __import__(package)
        except ImportError:
            raise MissingExtra(package, "train", "train models") from None


def _labels(text: str) -> tuple[str, ...]:
    try:
        return check_labels(tuple(part.strip() for part in text.split(",")))
    except ValueError as error:
        raise UsageError(f"--labels: {error}") from error


def _recipe(options: argparse.Namespace, labels: tuple[str, ...]) -> StudentRecipe:
    from dataclasses import replace

    from edge_ser.models import StudentConfig
    from edge_ser.training.run_student import StudentRecipe

    recipe = StudentRecipe(config=StudentConfig(labels=labels, **SIZES[options.size]))
    settings = replace(recipe.fit, seed=options.seed)
    if options.epochs is not None:
        if options.epochs < 1:
            raise UsageError(f"--epochs must be at least 1, got {options.epochs}")
        settings = replace(settings, epochs=options.epochs)
    return replace(recipe, fit=settings)


def _clips(values: list[str], labels: tuple[str, ...]) -> list[Clip]:
    from edge_ser.corpora import load_corpus

    clips: list[Clip] = []
    for name, folder in corpus_folders(values).items():
        found = load_corpus(name, folder).with_labels(labels).clips
        if not found:
            raise InputError(f"{name}: no clip below {folder} has one of the labels {labels}")
        clips += found
    return clips


def _chosen(fold: str | None, n_folds: int) -> list[int]:
    if fold is None or fold == "all":
        return list(range(n_folds))
    if not fold.isdecimal() or int(fold) >= n_folds:
        raise UsageError(f"--fold {fold}: choose 0 to {n_folds - 1}, or all")
    return [int(fold)]


def _calibration(out: Path) -> dict[str, Any] | None:
    """Temperature of the cross-validation in the same folder, if there was one."""
    try:
        report = json.loads((out / "results.json").read_text())
    except FileNotFoundError:
        return None
    calibration: dict[str, Any] | None = report.get("calibration")
    return calibration


def _write(path: Path, report: dict[str, Any]) -> None:
    from edge_ser.files import write_text

    write_text(path, json.dumps(report, indent=1) + "\n")


def _show(report: dict[str, Any]) -> None:
    if "checkpoint" in report:
        print(f"trained on all speakers: {report['checkpoint']}")
        return
    print(f"protocol: {report['protocol']}")
    for corpus, figures in report["corpora"].items():
        mean, sd, pooled = figures["mean"], figures["sd"], figures["pooled"]
        print(
            f"{corpus:<8} {pooled['n']} clips  UAR {pooled['uar']:.3f} pooled, "
            f"{mean['uar']:.3f} ± {sd['uar']:.3f} over {len(figures['folds'])} folds  "
            f"accuracy {pooled['accuracy']:.3f}  macro F1 {pooled['macro_f1']:.3f}"
        )
