"""``edge-ser distill``: a teacher's knowledge into the streaming student."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from edge_ser.cli import train
from edge_ser.cli.bounds import layer_numbers, real
from edge_ser.cli.options import print_json
from edge_ser.cli.train_data import all_clips, selection
from edge_ser.lessons import DistillWeights

if TYPE_CHECKING:
    from edge_ser.corpora import Clip
    from edge_ser.training.bank import FeatureBank
    from edge_ser.training.run_student import Teacher

__all__ = ["add_arguments", "execute"]


LESSONS = {
    "label": "the labels",
    "verdict": "the teacher's softened verdicts on what was heard so far",
    "evidence": "what its classifiers make of each moment and of what was heard so far",
    "states": "the encoder's states, frame by frame",
    "summary": "the encoder's states, pooled over the clip",
    "relation": "which clips of a batch the teacher finds alike",
}
"""What the student may learn, by the flag that weighs it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``distill``."""
    parser.add_argument(
        "--teacher",
        default="moonshine",
        metavar="ENCODER",
        help="frozen speech encoder under linear classifiers: moonshine, a .ort or .onnx file, "
        "or a transformers model (default: moonshine)",
    )
    parser.add_argument(
        "--layers",
        type=layer_numbers,
        default=(1, 2, 3),
        metavar="I,J,…",
        help="its hidden states: each has a classifier that votes, and the depths of the student "
        "guess them from first to last (default: 1,2,3)",
    )
    parser.add_argument(
        "--unlabelled",
        action="append",
        default=[],
        metavar="CORPUS=DIR",
        help="a corpus of which only the sound counts: its labels are ignored; speech=DIR is any "
        "folder of recordings, with a folder for each speaker",
    )
    for name, what in LESSONS.items():
        parser.add_argument(
            f"--{name}",
            type=real(),
            default=getattr(DistillWeights, name),
            metavar="W",
            help=f"weight of {what}; 0 leaves it out (default: %(default)g)",
        )
    parser.add_argument(
        "--no-depth-evidence",
        dest="depth_evidence",
        action="store_false",
        help="leave the student's verdict as it was learnt, without what linear discriminants "
        "make of the features of each depth",
    )
    train.add_data_arguments(parser)


def execute(options: argparse.Namespace) -> int:
    """Do what ``options`` ask."""
    train.need_training_packages()
    from edge_ser.cli import train_student
    from edge_ser.corpora.folds import apart_from
    from edge_ser.errors import UsageError
    from edge_ser.files import check_writable
    from edge_ser.training.linear_teacher import LinearTeacher, check_speakers

    weights = DistillWeights(**{name: getattr(options, name) for name in LESSONS})
    if not any(vars(weights).values()):
        flags = ", ".join(f"--{name}" for name in LESSONS)
        raise UsageError(f"nothing to learn: every lesson weighs 0; raise one of {flags}")

    labels, tested, extra, folds, chosen = selection(
        options, lambda labelled: heard_only(options, labelled)
    )
    if options.fold == "all":
        check_speakers([*tested, *extra], labels)
    else:  # of the last fold, too, before the first is trained
        for fold in (folds[index] for index in chosen):
            heard = [*fold.train, *apart_from(extra, fold.test)]
            check_speakers(heard, labels, f"fold {fold.index}: ")
    check_writable(options.out / "results.json")

    def teacher_of(bank: FeatureBank) -> Teacher:
        return LinearTeacher.listen(
            bank,
            options.teacher,
            options.layers,
            labels,
            options.cache or options.out / "cache",
            weights,
            options.seed,
        )

    report = train_student.run(options, folds, chosen, tested, extra, labels, teacher_of)
    if options.json:
        print_json(report)
    else:
        train.show(report)
    return 0


def heard_only(options: argparse.Namespace, labelled: set[Clip]) -> list[Clip]:
    """What is learnt from without its label: clips of other classes, and of ``--unlabelled``.

    Clips of classes that are not asked for are speech of the right speakers all the same.
    """
    from dataclasses import replace

    given = [*all_clips(options.data), *all_clips(options.extra)]
    others = [clip for clip in given if clip not in labelled]
    return others + [replace(clip, label="") for clip in all_clips(options.unlabelled)]
