"""Cross-validation folds, with validation speakers carved from the training side."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from edge_ser.corpora.clips import Clip
from edge_ser.errors import InputError, UsageError

__all__ = [
    "PROTOCOLS",
    "Fold",
    "apart_from",
    "check_classes",
    "held_out_corpora",
    "leave_one_out",
    "make_folds",
    "random_folds",
    "random_validation_split",
    "speaker_folds",
    "validation_split",
]

MANY_SPEAKERS = 10

PROTOCOLS = (
    "speaker-independent",
    "leave-one-speaker-out",
    "leave-one-session-out",
    "held-out-corpus",
    "random",
)
"""Ways to split; all but the last keep the speakers of the test part out of training."""


@dataclass(frozen=True)
class Fold:
    """One split into training and test clips, under a named protocol."""

    protocol: str
    index: int
    train: tuple[Clip, ...]
    test: tuple[Clip, ...]

    def __post_init__(self) -> None:
        for part, clips in (("train", self.train), ("test", self.test)):
            if not clips:
                raise InputError(
                    f"fold {self.index} ({self.protocol}) has no clip left to {part} on"
                )
        if self.protocol != "random":
            both = {clip.speaker for clip in self.train} & {clip.speaker for clip in self.test}
            if both:
                raise InputError(
                    f"fold {self.index} calls itself {self.protocol}, but {sorted(both)[0]} "
                    "is in its training and its test part"
                )


def apart_from(clips: Sequence[Clip], *parts: Sequence[Clip]) -> list[Clip]:
    """Those of ``clips`` whose speakers are in none of ``parts``, such as a fold's test part."""
    speakers = {clip.speaker for part in parts for clip in part}
    return [clip for clip in clips if clip.speaker not in speakers]


def speaker_folds(clips: Sequence[Clip], n_folds: int, seed: int = 0) -> list[Fold]:
    """Folds in which no speaker of the test part is heard in training.

    The speakers of each corpus are shuffled and dealt out in turn, so every fold tests
    on some speakers of every corpus that has at least ``n_folds`` speakers.

    Raises:
        UsageError: fewer than two folds, or a corpus with fewer speakers than folds.
    """
    if n_folds < 2:
        raise UsageError(f"at least 2 folds are needed, got {n_folds}")
    by_corpus: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        by_corpus[clip.corpus].add(clip.speaker)
    fold_of: dict[str, int] = {}
    for corpus, speakers in sorted(by_corpus.items()):
        if len(speakers) < n_folds:
            fewer = f"use --folds {len(speakers)}, or " if len(speakers) > 1 else ""
            raise UsageError(
                f"{corpus} has {len(speakers)} speaker{'s' * (len(speakers) != 1)}, too few for "
                f"{n_folds} speaker-independent folds; {fewer}give it with --extra to train on only"
            )
        order = sorted(speakers)
        random.Random(f"{seed}:{corpus}").shuffle(order)
        fold_of.update({speaker: index % n_folds for index, speaker in enumerate(order)})
    return [
        Fold(
            "speaker-independent",
            index,
            tuple(clip for clip in clips if fold_of[clip.speaker] != index),
            tuple(clip for clip in clips if fold_of[clip.speaker] == index),
        )
        for index in range(n_folds)
    ]


def leave_one_out(clips: Sequence[Clip], by: str) -> list[Fold]:
    """One fold per speaker, or per session of two speakers (IEMOCAP).

    Args:
        clips: of one corpus.
        by: ``speaker`` or ``session``.

    Raises:
        UsageError: more than one corpus, only one group, or a corpus without sessions.
    """
    corpora = {clip.corpus for clip in clips}
    if len(corpora) > 1:
        raise UsageError(
            f"leave-one-{by}-out takes one corpus at a time, got {', '.join(sorted(corpora))}; "
            "give the others with --extra"
        )
    if by == "session" and corpora != {"iemocap"}:
        raise UsageError(f"{', '.join(corpora)} has no sessions; only iemocap has")
    group = {clip: clip.speaker[:-1] if by == "session" else clip.speaker for clip in clips}
    names = sorted(set(group.values()))
    if len(names) < 2:
        raise UsageError(f"leave-one-{by}-out needs at least two of them, got {len(names)}")
    return [
        Fold(
            f"leave-one-{by}-out",
            index,
            tuple(clip for clip in clips if group[clip] != name),
            tuple(clip for clip in clips if group[clip] == name),
        )
        for index, name in enumerate(names)
    ]


def held_out_corpora(clips: Sequence[Clip]) -> list[Fold]:
    """One fold per corpus, in alphabetical order: tested on it, trained on all others.

    Speakers, rooms, microphones and mostly languages of the test part are new.

    Raises:
        UsageError: there is only one corpus.
    """
    corpora = sorted({clip.corpus for clip in clips})
    if len(corpora) < 2:
        raise UsageError(
            f"held-out-corpus needs at least two corpora, got {', '.join(corpora)}; "
            "add another with --data"
        )
    return [
        Fold(
            "held-out-corpus",
            index,
            tuple(clip for clip in clips if clip.corpus != corpus),
            tuple(clip for clip in clips if clip.corpus == corpus),
        )
        for index, corpus in enumerate(corpora)
    ]


def make_folds(
    protocol: str, clips: Sequence[Clip], n_folds: int, seed: int, labels: Sequence[str]
) -> list[Fold]:
    """The folds of the protocol that is named, with :func:`check_classes` done.

    Raises:
        UsageError: the protocol is unknown or does not suit the corpora.
        InputError: a class is missing in a fold.
    """
    if protocol == "speaker-independent":
        folds = speaker_folds(clips, n_folds, seed)
    elif protocol == "random":
        folds = random_folds(clips, n_folds, seed)
    elif protocol == "held-out-corpus":
        folds = held_out_corpora(clips)
    elif protocol in PROTOCOLS:
        folds = leave_one_out(clips, protocol.split("-")[2])
    else:
        raise UsageError(f"unknown protocol {protocol!r}; known are {', '.join(PROTOCOLS)}")
    check_classes(folds, labels)
    return folds


def check_classes(folds: Sequence[Fold], labels: Sequence[str]) -> None:
    """Refuse folds that cannot be learnt from or judged.

    Each training part needs every label, and each test part every label that its corpus
    has; a single left-out speaker may lack one, the recall is then over those that occur.

    Raises:
        InputError: naming fold, corpus and label.
    """
    for fold in folds:
        learnt = {clip.label for clip in fold.train}
        for label in labels:
            if label not in learnt:
                raise InputError(
                    f"fold {fold.index} ({fold.protocol}) has no {label} to train on; "
                    "leave it out of --labels or add a corpus that has it"
                )
        if fold.protocol.startswith(("leave-one-", "held-out-")):
            continue
        here = {(clip.corpus, clip.label) for clip in fold.test}
        wanted = {(clip.corpus, clip.label) for clip in (*fold.train, *fold.test)}
        tested = {clip.corpus for clip in fold.test}
        for corpus, label in sorted(wanted - here):
            if corpus in tested:
                raise InputError(
                    f"fold {fold.index} ({fold.protocol}) has no {label} of {corpus} to test "
                    "on; use fewer --folds or another --seed"
                )


def random_folds(clips: Sequence[Clip], n_folds: int, seed: int = 0) -> list[Fold]:
    """Folds stratified by corpus and label that ignore speakers.

    Speakers overlap between training and test, so scores are flattering: this is the
    split that much published work reports, kept for comparison only.

    Raises:
        UsageError: fewer than two folds, or more than clips.
    """
    if not 2 <= n_folds <= len(clips):
        raise UsageError(f"from 2 to {len(clips)} folds can be made of the clips, not {n_folds}")
    strata: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in clips:
        strata[clip.corpus, clip.label].append(clip)
    fold_of: dict[Clip, int] = {}
    position = 0  # carried over strata, so that folds stay equally large
    for stratum in sorted(strata):
        members = strata[stratum]
        random.Random(f"{seed}:{stratum}").shuffle(members)
        for clip in members:
            fold_of[clip] = position % n_folds
            position += 1
    return [
        Fold(
            "random",
            index,
            tuple(clip for clip in clips if fold_of[clip] != index),
            tuple(clip for clip in clips if fold_of[clip] == index),
        )
        for index in range(n_folds)
    ]


def validation_split(
    clips: Sequence[Clip], share: float, seed: int = 0
) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """Carve validation speakers out of training clips.

    About ``share`` of the speakers of each corpus, at least one, are moved. A corpus with
    fewer than ``MANY_SPEAKERS`` stays in training altogether if there is another: with so few
    voices each is worth more for learning than for choosing an epoch.

    Returns:
        ``(training, validation)``, with no speaker in both.

    Raises:
        UsageError: ``share`` is not between 0 and 1, or there is only one speaker.
    """
    if not 0 < share < 1:
        raise UsageError(f"the share of validation speakers must lie between 0 and 1, got {share}")
    by_corpus: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        by_corpus[clip.corpus].add(clip.speaker)
    large = {corpus for corpus, speakers in by_corpus.items() if len(speakers) >= MANY_SPEAKERS}
    held: set[str] = set()
    for corpus, speakers in sorted(by_corpus.items()):
        if (large and corpus not in large) or len(speakers) < 2:
            continue
        order = sorted(speakers)
        random.Random(f"{seed}:validation:{corpus}").shuffle(order)
        held.update(order[: min(max(1, round(share * len(order))), len(order) - 1)])
    if not held:
        raise UsageError(
            "no speaker can be held back for validation where there is one to train on; give "
            "clips of more speakers"
        )
    return (
        tuple(clip for clip in clips if clip.speaker not in held),
        tuple(clip for clip in clips if clip.speaker in held),
    )


def random_validation_split(
    clips: Sequence[Clip], share: float, seed: int = 0
) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """Carve validation clips out of the training clips of a random fold.

    Stratified by corpus and label like the fold itself, with speakers on both sides.

    Returns:
        ``(training, validation)``, with no clip in both.

    Raises:
        UsageError: ``share`` is not between 0 and a half.
    """
    if not 0 < share <= 0.5:
        raise UsageError(f"the share of validation clips must be over 0 and at most 0.5: {share}")
    first = random_folds(clips, min(max(2, round(1 / share)), len(clips)), seed)[0]
    return first.train, first.test
