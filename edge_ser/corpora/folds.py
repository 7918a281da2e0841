"""Cross-validation folds, with validation speakers carved from the training side."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from edge_ser.corpora.clips import Clip
from edge_ser.errors import InputError, UsageError

__all__ = ["Fold", "random_folds", "speaker_folds", "validation_split"]

MANY_SPEAKERS = 10


@dataclass(frozen=True)
class Fold:
    """One split into training and test clips, under a named protocol."""

    protocol: str
    index: int
    train: tuple[Clip, ...]
    test: tuple[Clip, ...]

    def __post_init__(self) -> None:
        if not self.train or not self.test:
            raise InputError(f"fold {self.index} has an empty training or test part")
        if self.protocol == "speaker-independent":
            both = {clip.speaker for clip in self.train} & {clip.speaker for clip in self.test}
            if both:
                raise InputError(
                    f"fold {self.index} calls itself speaker-independent, but {sorted(both)[0]} "
                    "is in its training and its test part"
                )


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
            raise UsageError(
                f"{corpus} has {len(speakers)} speakers, too few for {n_folds} "
                f"speaker-independent folds; use --folds {len(speakers)} or leave it for training"
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


def random_folds(clips: Sequence[Clip], n_folds: int, seed: int = 0) -> list[Fold]:
    """Folds stratified by corpus and label that ignore speakers.

    Speakers overlap between training and test, so scores are flattering: this is the
    split that much published work reports, kept for comparison only.

    Raises:
        UsageError: fewer than two folds.
    """
    if n_folds < 2:
        raise UsageError(f"at least 2 folds are needed, got {n_folds}")
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
    """
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
        held.update(order[: max(1, round(share * len(order)))])
    return (
        tuple(clip for clip in clips if clip.speaker not in held),
        tuple(clip for clip in clips if clip.speaker in held),
    )
