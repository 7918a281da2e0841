"""``edge-ser train``: train a model on corpora."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_ser.cli import learning, train_student, train_teacher
from edge_ser.cli.bounds import real, whole
from edge_ser.cli.options import add_json, add_seed, print_json
from edge_ser.cli.train_data import selection
from edge_ser.corpora.folds import PROTOCOLS
from edge_ser.errors import UsageError
from edge_ser.labels import SIX_LABELS

if TYPE_CHECKING:
    from edge_ser.corpora import Clip, Fold

__all__ = ["add_arguments", "add_data_arguments", "execute", "need_training_packages", "show"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``train``."""
    parser.add_argument("model", choices=["student", *train_teacher.MODELS], help="what to train")
    add_data_arguments(parser)
    train_teacher.add_arguments(parser)


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags that say what to train on, how to split it and where to keep it."""
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
        "--protocol",
        default="speaker-independent",
        choices=list(PROTOCOLS),
        help="how clips are split into folds; with random, speakers of test clips are heard in "
        "training (default: speaker-independent)",
    )
    parser.add_argument("--folds", type=int, default=4, metavar="N", help="(default: 4)")
    parser.add_argument(
        "--fold",
        metavar="K",
        help="only fold K (from 0, or the name of the held-out corpus), or 'all' to train a "
        "student on every speaker and test on none",
    )
    parser.add_argument(
        "--labels",
        default=",".join(SIX_LABELS),
        metavar="A,B,…",
        help="clips of other labels are left out (default: the six that most corpora share, "
        f"{','.join(SIX_LABELS)})",
    )
    parser.add_argument(
        "--size",
        default="medium",
        choices=list(train_student.SIZES),
        help="of a student (default: medium)",
    )
    parser.add_argument(
        "--warp",
        type=real(0.0, 0.5),
        metavar="F",
        help="students hear each crop from a vocal tract up to this share shorter or longer, "
        "0.12 for example (default: 0)",
    )
    parser.add_argument(
        "--voices",
        type=whole(0, 99),
        metavar="N",
        help="students hear each clip from N other voices too, of other speed, pitch and timbre "
        "(default: 3)",
    )
    parser.add_argument(
        "--clean-share",
        type=real(0.0, 1.0),
        metavar="P",
        help="how often students hear a crop without another room, noise or microphone",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the run: one folder a fold, and results.json when all folds were run",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="computed features, which several runs may share (default: cache in --out)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on where a killed run was; without it a run begins anew",
    )
    parser.add_argument(
        "--workers",
        type=whole(1, 1024),
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes that compute a student's features (default: one for each core)",
    )
    learning.add_arguments(parser)
    add_seed(parser)
    add_json(parser)


def execute(options: argparse.Namespace) -> int:
    """Do what ``options`` ask."""
    from edge_ser.files import check_writable

    need_training_packages()
    _refuse_idle_flags(options)
    labels, tested, extra, folds, chosen = selection(options)
    check_writable(options.out / "results.json")
    if options.model == "student":
        report = train_student.run(options, folds, chosen, tested, extra, labels)
    else:
        report = _train_teacher(options, folds, chosen, extra, labels)
    from edge_ser.training.processes import is_first

    if not is_first():  # of several processes one reports
        return 0
    if options.json:
        print_json(report)
    else:
        show(report)
    return 0


def _refuse_idle_flags(options: argparse.Namespace) -> None:
    """Flags that the chosen model would not heed.

    Raises:
        UsageError: naming the first.
    """
    of_students = ("warp", "voices", "clean_share", "muon_rate")
    idle: tuple[str, ...] = () if options.model == "student" else of_students
    if options.model.startswith("baseline-"):
        idle += learning.FLAGS
    given = [flag for flag in idle if getattr(options, flag) is not None]
    for flag in (*given, *train_teacher.idle_flags(options)):
        raise UsageError(f"--{flag.replace('_', '-')} has no part in training {options.model}")


def _train_teacher(
    options: argparse.Namespace,
    folds: list[Fold],
    chosen: list[int],
    extra: list[Clip],
    labels: tuple[str, ...],
) -> dict[str, Any]:
    from edge_ser.training.processes import is_first
    from edge_ser.training.progress import say
    from edge_ser.training.results import summarise

    if options.fold == "all":
        raise UsageError("--fold all is for the student; a teacher is trained fold by fold")
    found, facts = train_teacher.run(options, [folds[index] for index in chosen], extra, labels)
    report = {
        "model": options.model,
        "command": _command(),
        **facts,
        **summarise(found, labels, options.seed),
    }
    if is_first():
        name = "results.json" if len(found) == len(folds) else f"fold{chosen[0]}/results.json"
        _write(options.out / name, report)
        say(f"results: {options.out / name}")
    return report


def _command() -> str:
    return shlex.join(["edge-ser", *sys.argv[1:]])


def need_training_packages() -> None:
    """Say which extra is missing before anything is read.

    Raises:
        MissingExtra: naming it.
    """
    from edge_ser.errors import MissingExtra

    for package in ("torch", "lightning-fabric", "pytorch-optimizer", "safetensors", "soundfile"):
        try:
            __import__(package.replace("-", "_"))
        except ImportError:
            raise MissingExtra(package, "train", "train models") from None


def _write(path: Path, report: dict[str, Any]) -> None:
    from edge_ser.files import write_text

    write_text(path, json.dumps(report, indent=1) + "\n")


def _folds(count: int) -> str:
    return f"{count} fold" + "s" * (count != 1)


def show(report: dict[str, Any]) -> None:
    """The report of a run for people."""
    if "checkpoint" in report:
        print(f"trained on all speakers: {report['checkpoint']}")
        return
    print(f"protocol: {report['protocol']}; UAR by chance {1 / len(report['labels']):.3f}")
    for corpus, figures in report["corpora"].items():
        mean, sd, pooled = figures["mean"], figures["sd"], figures["pooled"]
        print(
            f"{corpus:<8} {pooled['n']} clips  UAR {pooled['uar']:.3f} pooled, "
            f"{mean['uar']:.3f} ± {sd['uar']:.3f} over {_folds(len(figures['folds']))}  "
            f"accuracy {pooled['accuracy']:.3f}  macro F1 {pooled['macro_f1']:.3f}"
        )
