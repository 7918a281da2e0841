"""``edge-ser train``: train a model on corpora."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_ser.cli import learning, train_student, train_teacher
from edge_ser.cli.bounds import real, whole
from edge_ser.cli.options import add_json, add_seed, corpus_folders, print_json
from edge_ser.corpora.folds import PROTOCOLS
from edge_ser.errors import InputError, UsageError
from edge_ser.labels import SIX_LABELS, check_labels

if TYPE_CHECKING:
    from edge_ser.corpora import Clip, Fold

__all__ = [
    "add_arguments",
    "add_data_arguments",
    "all_clips",
    "execute",
    "need_training_packages",
    "selection",
    "show",
]


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
    idle: tuple[str, ...] = () if options.model == "student" else ("warp", "voices", "clean_share")
    if options.model.startswith("baseline-"):
        idle += learning.FLAGS
    given = [flag for flag in idle if getattr(options, flag) is not None]
    for flag in (*given, *train_teacher.idle_flags(options)):
        raise UsageError(f"--{flag.replace('_', '-')} has no part in training {options.model}")


def selection(
    options: argparse.Namespace, more: Callable[[set[Clip]], list[Clip]] | None = None
) -> tuple[tuple[str, ...], list[Clip], list[Clip], list[Fold], list[int]]:
    """Labels, clips to test on, clips to train on only, folds and the chosen ones.

    Args:
        more: clips to train on only, beside the given ones.
    """
    from edge_ser.corpora import make_folds
    from edge_ser.corpora.twins import without_twins
    from edge_ser.training.progress import say

    _refuse_two_roles(options)
    labels = _labels(options.labels)
    others = "left out" if more is None else "heard without their label"
    tested = _clips(options.data, labels, others)
    extra = _clips(options.extra, labels, others)
    if more is not None:
        extra += more({*tested, *extra})
    folds: list[Fold] = make_folds(options.protocol, tested, options.folds, options.seed, labels)
    say(_protocol(folds))
    folds, extra, messages = without_twins(folds, extra)
    for message in messages:
        say(message)
    fold = options.fold
    if options.protocol == "held-out-corpus":
        named = {fold.test[0].corpus: str(fold.index) for fold in folds}
        fold = named.get(fold, fold)
    return labels, tested, extra, folds, _chosen(fold, len(folds))


def _refuse_two_roles(options: argparse.Namespace) -> None:
    """A folder in two roles is heard twice; a corpus that is held out must not be heard at all.

    Other files of a corpus may be given to train on: speakers that are tested are left out.
    """
    given: dict[str, tuple[str, Path]] = {}
    for flag in ("data", "extra", "unlabelled"):
        for name, folder in corpus_folders(getattr(options, flag, []), f"--{flag}").items():
            first, place = given.setdefault(name, (flag, folder))
            if first == flag:
                continue
            if options.protocol == "held-out-corpus":
                raise UsageError(
                    f"{name} stands with --{first} and --{flag}, but held-out-corpus tests on a "
                    "corpus of which nothing was heard; give it once"
                )
            if place.resolve() == folder.resolve():
                raise UsageError(
                    f"{name} stands with --{first} and --{flag}, so each of its clips would be "
                    "heard twice; give it once (distill hears clips of other labels anyway)"
                )


def _protocol(folds: list[Fold]) -> str:
    """The protocol by its name, with what a reader of its figures must know."""
    clips = [clip for fold in folds for clip in fold.test]
    shared = (
        "speakers of test clips are heard in training"
        if folds[0].protocol == "random"
        else ("no speaker of a test clip is heard in training")
    )
    speakers = len({clip.speaker for clip in clips})
    return (
        f"protocol {folds[0].protocol}: {len(folds)} folds, {len(clips)} clips of {speakers} "
        f"speakers; {shared}"
    )


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

    for package in ("torch", "lightning_fabric", "pytorch_optimizer", "safetensors", "soundfile"):
        try:
            __import__(package)
        except ImportError:
            raise MissingExtra(package, "train", "train models") from None


def _labels(text: str) -> tuple[str, ...]:
    try:
        return check_labels(tuple(part.strip() for part in text.split(",")))
    except ValueError as error:
        raise UsageError(f"--labels: {error}") from error


def _clips(values: list[str], labels: tuple[str, ...], fate: str) -> list[Clip]:
    """Clips with one of ``labels``; ``fate`` is what becomes of the others, for the message."""
    from edge_ser.corpora import load_corpus
    from edge_ser.corpora.survey import EXPECTED_CLIPS, check_lengths
    from edge_ser.training.progress import say

    clips: list[Clip] = []
    for name, folder in corpus_folders(values).items():
        corpus = load_corpus(name, folder)
        found = corpus.with_labels(labels).clips
        if not found:
            raise InputError(
                f"{name}: no clip below {folder} has one of the labels {', '.join(labels)}"
            )
        for line in (*corpus.left_out(), *check_lengths(corpus)):
            say(line)
        others = sorted({clip.label for clip in corpus.clips} - set(labels))
        if others:
            say(
                f"{name}: {len(corpus.clips) - len(found)} clips of other labels are {fate} "
                f"({', '.join(others)})"
            )
        if len(corpus.clips) < EXPECTED_CLIPS[name]:
            say(
                f"{name}: {len(corpus.clips)} of the {EXPECTED_CLIPS[name]} clips of the whole "
                "corpus are here"
            )
        clips += found
    return clips


def all_clips(values: list[str]) -> list[Clip]:
    """Every clip of the corpora, whatever its label; a corpus may be plain speech."""
    from edge_ser.corpora import SPEECH, load_corpus, load_speech

    clips: list[Clip] = []
    for name, folder in corpus_folders(values).items():
        clips += load_speech(folder) if name == SPEECH else load_corpus(name, folder).clips
    return clips


def _chosen(fold: str | None, n_folds: int) -> list[int]:
    if fold is None or fold == "all":
        return list(range(n_folds))
    if not fold.isdecimal() or int(fold) >= n_folds:
        raise UsageError(
            f"--fold {fold}: choose 0 to {n_folds - 1}, all, or with held-out-corpus a corpus"
        )
    return [int(fold)]


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
