"""What ``train`` and ``distill`` learn from: clips, what they are for, and how they are split."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edge_ser.cli.options import corpus_folders
from edge_ser.errors import InputError, UsageError
from edge_ser.labels import check_labels

if TYPE_CHECKING:
    from edge_ser.corpora import Clip, Fold

__all__ = ["all_clips", "selection"]


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
