"""The student's part of ``edge-ser train`` and ``edge-ser distill``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edge_ser.cli.learning import given

if TYPE_CHECKING:
    from pathlib import Path

    from edge_ser.corpora import Clip, Fold
    from edge_ser.training.bank import FeatureBank
    from edge_ser.training.run_student import StudentRecipe, Teacher

__all__ = ["SIZES", "recipe_of", "run"]

SIZES = {
    "large": {"stem": 64, "trunk": 128, "heads": 8, "fused": 192},
    "medium": {"stem": 64, "trunk": 112, "heads": 7, "fused": 160},
    "compact": {"stem": 48, "trunk": 80, "heads": 5, "fused": 128},
    "small": {"stem": 32, "trunk": 48, "heads": 3, "fused": 96},
}


def recipe_of(options: argparse.Namespace, labels: tuple[str, ...], taught: bool) -> StudentRecipe:
    """The recipe that the flags ask for.

    Args:
        taught: by a teacher, whose verdicts cannot be learnt by heart as labels can: no
            speaker is held back to choose the epoch.
    """
    from dataclasses import replace

    from edge_ser.models import StudentConfig
    from edge_ser.training.run_student import StudentRecipe

    config = StudentConfig(labels=labels, **SIZES[options.size])
    config = replace(config, dropout=0.0, readout_dropout=0.0)
    recipe = StudentRecipe(config=config, batch_size=8, n_masks=0, clean_share=0.6)
    settings = replace(recipe.fit, learning_rate=2e-3, ema=0.995, epochs=40)
    if taught:
        # The encoder's states are learnt best in larger batches, at higher rates, and by Muon.
        settings = replace(settings, learning_rate=6e-3, muon_rate=1.5e-2, epochs=24)
        recipe = replace(
            recipe,
            batch_size=16,
            validation_share=0.0,
            depth_evidence=options.depth_evidence,
        )
    of_config = given(options, dropout="dropout", head_dropout="readout_dropout")
    of_recipe = given(
        options,
        batch_size="batch_size",
        masks="n_masks",
        warp="warp",
        voices="voices",
        clean_share="clean_share",
    )
    of_fit = given(
        options,
        epochs="epochs",
        learning_rate="learning_rate",
        muon_rate="muon_rate",
        ema="ema",
        weight_decay="weight_decay",
    )
    return replace(
        recipe,
        **of_recipe,
        config=replace(config, **of_config),
        fit=replace(settings, seed=options.seed, **of_fit),
    )


def run(
    options: argparse.Namespace,
    folds: Sequence[Fold],
    chosen: Sequence[int],
    tested: Sequence[Clip],
    extra: Sequence[Clip],
    labels: tuple[str, ...],
    teacher_of: Callable[[FeatureBank], Teacher] | None = None,
) -> dict[str, Any]:
    """Train the chosen folds, or with ``--fold all`` on everything, and report.

    Args:
        extra: clips to train on only; without one of the labels, they teach no label.
        teacher_of: makes the teacher from the features of all clips.
    """
    from edge_ser.files import write_text
    from edge_ser.training.bank import FeatureBank
    from edge_ser.training.results import summarise
    from edge_ser.training.run_student import train_everything, train_fold

    recipe = recipe_of(options, labels, teacher_of is not None)
    clips = [*tested, *extra]
    bank = FeatureBank.build(
        clips,
        recipe.frontend,
        voices=recipe.voices,
        rooms=recipe.rooms,
        seed=options.seed,
        cache=options.cache or options.out / "cache",
        workers=options.workers,
    )
    teacher = teacher_of(bank) if teacher_of else None
    if options.fold == "all":
        folder = options.out / "all"
        corpora = {clip.corpus for clip in tested}
        facts = teacher.facts() if teacher else None
        calibration = _calibration(options.out, recipe, facts, corpora)
        with _told_of_resume(options.out):
            train_everything(
                recipe, bank, clips, calibration, folder, teacher=teacher, resume=options.resume
            )
        return {"checkpoint": str(folder / "checkpoint.safetensors")}
    with _told_of_resume(options.out):
        results = [
            train_fold(
                recipe,
                bank,
                folds[index],
                extra,
                options.out / f"fold{index}",
                teacher=teacher,
                resume=options.resume,
            )
            for index in chosen
        ]
    report = summarise(results, labels, options.seed)
    report["depth_evidence"] = recipe.depth_evidence
    if len(results) == len(folds):
        write_text(options.out / "results.json", json.dumps(report, indent=1) + "\n")
    return report


@contextmanager
def _told_of_resume(out: Path) -> Iterator[None]:
    """Say how an interrupted training goes on."""
    from edge_ser.training.progress import say

    try:
        yield
    except KeyboardInterrupt:
        say(f"interrupted; --resume goes on after the last whole epoch in {out}")
        raise


def _calibration(
    out: Path, recipe: StudentRecipe, teacher: dict[str, Any] | None, corpora: set[str]
) -> dict[str, Any] | None:
    """Temperature of the cross-validation in the same folder, if there was one.

    Args:
        teacher: facts of the teacher.
        corpora: given to test on.

    Raises:
        UsageError: it was made of students with, or without, evidence of the depths, unlike
            this one, or of other labels or corpora, or by another recipe, or its test speakers
            were heard in training: it says nothing of how sure this one may be.
    """
    from edge_ser.errors import UsageError
    from edge_ser.models.checkpoint import read_description
    from edge_ser.training.state import SETTINGS_ONCE

    try:
        report = json.loads((out / "results.json").read_text())
        whole = {"labels", "protocol", "corpora"} <= report.keys()
    except FileNotFoundError:
        return None
    except (ValueError, AttributeError):
        whole = False
    if not whole:
        raise UsageError(
            f"{out / 'results.json'} is damaged; run the cross-validation again with --resume, "
            "which keeps what was trained, then --fold all"
        )
    if report.get("depth_evidence", False) is not recipe.depth_evidence:
        had = "without" if recipe.depth_evidence else "with"
        raise UsageError(
            f"the cross-validation in {out} was made {had} evidence of the depths, so its "
            "calibration does not fit; run it again with --resume, which keeps what was trained, "
            "then --fold all"
        )
    if report["labels"] != list(recipe.config.labels) or report["protocol"] == "random":
        raise UsageError(
            f"the cross-validation in {out} is of the labels {', '.join(report['labels'])} and "
            f"{report['protocol']} folds; its calibration does not fit: give another --out"
        )
    if set(report["corpora"]) != corpora:
        raise UsageError(
            f"the cross-validation in {out} tested {', '.join(sorted(report['corpora']))}, not "
            f"{', '.join(sorted(corpora))}; its calibration does not fit: give the same --data, "
            "or another --out"
        )

    def kept(training: dict[str, Any]) -> Any:
        found = json.loads(json.dumps({name: training.get(name) for name in ("recipe", "teacher")}))
        if found["recipe"]:
            found["recipe"]["fit"] = {**SETTINGS_ONCE, **found["recipe"]["fit"]}
        if teacher is None:  # its folds choose their epoch, on all speakers it is given
            del found["recipe"]["fit"]["epochs"]
        return found

    mine = kept({"recipe": recipe.to_dict(), "teacher": teacher})
    for path in sorted(out.glob("fold*/checkpoint.safetensors")):
        training = read_description(path)["training"]
        if kept(training) != mine:
            raise UsageError(
                f"{path.parent} was trained by another recipe than this one, so the calibration "
                f"of {out} does not fit: give the same flags, or another --out"
            )
        # Evidence that was fitted before it was the mean of two fits has one shrinkage.
        if "shrinkage" in (training.get("depth_evidence") or {}):
            raise UsageError(
                f"the evidence of the depths in {path.parent} was fitted by an older edge-ser, so "
                f"the calibration of {out} does not fit; run the cross-validation again with "
                "--resume, which keeps what was trained, then --fold all"
            )
    calibration: dict[str, Any] | None = report.get("calibration")
    return calibration
