"""Train the student on one fold, on all folds of a protocol, or on everything."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from edge_ser.corpora import NAMINGS, Clip, Fold, digest, validation_split
from edge_ser.corpora.folds import apart_from
from edge_ser.files import write_text
from edge_ser.frontend import LogMelSpec
from edge_ser.models.checkpoint import Checkpoint, save_student
from edge_ser.models.student import Student, StudentConfig
from edge_ser.training.bank import FeatureBank
from edge_ser.training.batches import Batch, ClipBatches
from edge_ser.training.depth_evidence import add_depth_evidence
from edge_ser.training.fit import FitSettings, fit
from edge_ser.training.readout import fit_readout
from edge_ser.training.results import FoldResult, calibration_of
from edge_ser.training.student import (
    StudentLoss,
    clip_logits,
    final_logits,
    heard_logits,
    mean_uar,
    mel_statistics,
)

__all__ = ["StudentRecipe", "Teacher", "train_everything", "train_fold"]


Loss = Callable[[torch.nn.Module, Batch, np.random.Generator], torch.Tensor]


class Teacher(Protocol):
    """Somebody to learn from beside the labels."""

    @property
    def teaches_labels(self) -> bool:
        """Whether its loss trains the last layer; if not, it is found in closed form."""
        ...

    def facts(self) -> dict[str, Any]:
        """For the checkpoint's record."""
        ...

    def lesson(
        self, student: Student, clips: Sequence[Clip], label_loss: StudentLoss
    ) -> tuple[torch.nn.Module, Loss]:
        """The student, perhaps with throw-away heads, and the loss that teaches it."""
        ...


@dataclass(frozen=True)
class StudentRecipe:
    """Everything that decides how a student turns out.

    Attributes:
        frames: length of a training crop, 10 ms each.
        voices: other voices of every training clip.
        rooms: other rooms for each voice.
        warp: largest change of the vocal tract's length, drawn anew for every crop.
        depth_evidence: add what linear discriminants make of the features of each depth, see
            ``depth_evidence``.
        validation_share: of the training speakers, for the choice of the epoch; 0 trains on
            all of them and keeps the weight average of the last epoch.
    """

    config: StudentConfig = field(default_factory=StudentConfig)
    frontend: LogMelSpec = field(default_factory=LogMelSpec)
    fit: FitSettings = field(default_factory=FitSettings)
    loss: StudentLoss = field(default_factory=StudentLoss)
    frames: int = 256
    batch_size: int = 32
    n_masks: int = 1
    clean_share: float = 0.4
    voices: int = 3
    rooms: int = 2
    warp: float = 0.0
    depth_evidence: bool = False
    validation_share: float = 0.12

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            **asdict(self),
            "config": self.config.to_dict(),
            "frontend": self.frontend.to_dict(),
        }


def train_fold(
    recipe: StudentRecipe,
    bank: FeatureBank,
    fold: Fold,
    extra: Sequence[Clip],
    out: Path,
    *,
    teacher: Teacher | None = None,
    resume: bool,
) -> FoldResult:
    """Train on a fold and predict its test clips; the checkpoint goes to ``out``.

    Args:
        extra: clips that are never tested on; those of the fold's test and validation
            speakers are left out.
        teacher: to learn from beside the labels.
    """
    train, held = tuple(fold.train), tuple[Clip, ...]()
    if recipe.validation_share:
        train, held = validation_split(fold.train, recipe.validation_share, recipe.fit.seed)
    labels, step_frames = recipe.config.labels, recipe.config.step_frames
    extra = apart_from(extra, fold.test, held)

    def validate(model: torch.nn.Module) -> float:
        student = getattr(model, "student", model)
        return mean_uar(final_logits(student, bank, held, step_frames), held, labels)

    student, epoch, evidence = _train(
        recipe,
        bank,
        [*train, *extra],
        teacher,
        validate if held else None,
        out,
        resume,
        f"fold {fold.index}",
    )
    facts = {
        "protocol": fold.protocol,
        "fold": fold.index,
        "epoch": epoch,
        "train_speakers": sorted({clip.speaker for clip in (*train, *extra)}),
        "validation_speakers": sorted({clip.speaker for clip in held}),
        "test_speakers": sorted({clip.speaker for clip in fold.test}),
        "teacher": teacher.facts() if teacher else None,
        "depth_evidence": evidence,
    }
    if held:
        heard = _result(student, bank, Fold(fold.protocol, fold.index, train, held), epoch)
        facts["calibration"] = calibration_of(
            [heard],
            labels,
            f"{len(held)} clips of {len({clip.speaker for clip in held})} validation speakers, "
            "which also chose the epoch",
        )
    result = _result(student, bank, fold, epoch)
    _save(student, recipe, (*fold.train, *extra), facts, out)
    _write_predictions(result, labels, out)
    return result


def _result(student: Student, bank: FeatureBank, fold: Fold, epoch: int) -> FoldResult:
    step_frames = student.config.step_frames
    steps = clip_logits(student, bank, fold.test, step_frames)
    return FoldResult(
        fold,
        np.stack([rows[-1] for rows in steps]),
        epoch,
        heard_logits(steps, bank, fold.test, step_frames),
    )


def train_everything(
    recipe: StudentRecipe,
    bank: FeatureBank,
    clips: Sequence[Clip],
    calibration: dict[str, Any] | None,
    out: Path,
    *,
    teacher: Teacher | None = None,
    resume: bool,
) -> None:
    """Train on all clips, for as many epochs as the recipe says; nothing is held back.

    Args:
        calibration: of the probabilities, found on the folds of a cross-validation.
    """
    student, epoch, evidence = _train(
        recipe, bank, clips, teacher, None, out, resume, "all speakers"
    )
    facts = {
        "protocol": "all speakers",
        "epoch": epoch,
        "train_speakers": sorted({clip.speaker for clip in clips}),
        "test_speakers": [],
        "teacher": teacher.facts() if teacher else None,
        "depth_evidence": evidence,
        "calibration": calibration,
    }
    _save(student, recipe, clips, facts, out)


def _train(
    recipe: StudentRecipe,
    bank: FeatureBank,
    clips: Sequence[Clip],
    teacher: Teacher | None,
    validate: Callable[[torch.nn.Module], float] | None,
    out: Path,
    resume: bool,
    name: str,
) -> tuple[Student, int, dict[str, Any] | None]:
    torch.manual_seed(recipe.fit.seed)
    student = Student(recipe.config, recipe.frontend.silence)
    student.set_normalisation(*mel_statistics(bank, clips))
    batches = ClipBatches(
        bank,
        clips,
        recipe.config.labels,
        frames=recipe.frames,
        step_frames=recipe.config.step_frames,
        batch_size=recipe.batch_size,
        n_masks=recipe.n_masks,
        clean_share=recipe.clean_share,
        warp=recipe.warp,
    )
    model: torch.nn.Module = student
    loss: Loss = recipe.loss
    if teacher is not None:
        model, loss = teacher.lesson(student, clips, recipe.loss)
    # The evidence of the depths, which brings domains, comes after the descent: a finished one
    # can be given it.
    descent = recipe.to_dict()
    del descent["depth_evidence"], descent["config"]["domains"]
    fitted = fit(
        model,
        batches,
        loss,
        validate,
        recipe.fit,
        out / "state.pt",
        resume=resume,
        name=name,
        heard=digest(clips, recipe.config.labels),
        recipe={**descent, "teacher": teacher.facts() if teacher else {}},
    )
    student.cpu()
    # Of everyone nothing is tested, and what follows is fitted on what the student makes of clips.
    clip_logits(student, bank, clips[:1], recipe.config.step_frames)
    write_text(out / "history.json", json.dumps(fitted.history, indent=1))
    if teacher is not None and not teacher.teaches_labels:
        fit_readout(student, bank, clips)
    evidence = None
    if recipe.depth_evidence:
        student, evidence = add_depth_evidence(student, bank, clips, recipe.fit.seed)
    return student.eval(), fitted.epoch, evidence


def _save(
    student: Student,
    recipe: StudentRecipe,
    clips: Sequence[Clip],
    facts: dict[str, Any],
    out: Path,
) -> None:
    corpora = sorted({clip.corpus for clip in clips})
    training = {
        **facts,
        "corpora": {
            name: {
                "clips": sum(clip.corpus == name for clip in clips),
                **_terms(name),
            }
            for name in corpora
        },
        # What was trained; the evidence has made the student in the checkpoint wider.
        "recipe": recipe.to_dict(),
    }
    checkpoint = Checkpoint(student, recipe.frontend, training)
    save_student(checkpoint, out / "checkpoint.safetensors")


def _terms(corpus: str) -> dict[str, Any]:
    naming = NAMINGS.get(corpus)
    if naming is None:
        terms = "speech without labels, under terms that only who trained on it knows"
        return {"licence": terms, "commercial": False, "citation": ""}
    return {
        "licence": naming.licence,
        "commercial": naming.commercial,
        "citation": naming.citation,
    }


def _write_predictions(result: FoldResult, labels: tuple[str, ...], out: Path) -> None:
    rows = [
        json.dumps(
            {
                "file": clip.path.name,
                "corpus": clip.corpus,
                "speaker": clip.speaker,
                "label": clip.label,
                "predicted": labels[int(row.argmax())],
                "logits": [round(float(value), 5) for value in row],
            }
        )
        for clip, row in zip(result.fold.test, result.logits, strict=True)
    ]
    write_text(out / "predictions.jsonl", "\n".join(rows) + "\n")
