"""Files with the very same audio, which would leak from training into test."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from edge_ser.corpora.clips import Clip
from edge_ser.corpora.folds import Fold
from edge_ser.errors import InputError

__all__ = ["twins", "without_twins"]


def twins(clips: Sequence[Clip]) -> list[tuple[Clip, ...]]:
    """Groups of two or more clips whose files are equal byte for byte.

    RAVDESS, for one, is published with a take that stands under two names. Only files of
    equal size are read. A file that cannot be read is nobody's twin: who decodes the clips
    names it.
    """
    of_size: dict[int, list[Clip]] = defaultdict(list)
    found: dict[tuple[int, str], list[Clip]] = defaultdict(list)
    for clip in dict.fromkeys(clips):
        with suppress(OSError):
            of_size[clip.path.stat().st_size].append(clip)
    for size, alike in of_size.items():
        if size == 0 or len(alike) == 1:
            continue
        for clip in alike:
            with suppress(OSError):
                digest = hashlib.sha256(clip.path.read_bytes()).hexdigest()
                found[size, digest].append(clip)
    return [tuple(group) for group in found.values() if len(group) > 1]


def without_twins(
    folds: Sequence[Fold], extra: Sequence[Clip]
) -> tuple[list[Fold], list[Clip], list[str]]:
    """The folds and extra clips without training clips whose audio is tested under another name.

    The test parts stay as they are. Speakers do not protect: a file copied under the name of
    another speaker would be heard in training and in test.

    Returns:
        Folds, extra clips, and one message per contradiction and per fold or list that became
        shorter.

    Raises:
        InputError: nothing would be left to train on.
    """
    every = [clip for fold in folds for clip in (*fold.train, *fold.test)]
    groups = twins([*every, *extra])
    group_of = {clip: n for n, group in enumerate(groups) for clip in group}
    if not group_of:
        return list(folds), list(extra), []
    said = [
        f"the same audio has two labels: {' = '.join(clip.path.name for clip in group)}"
        for group in groups
        if len({clip.label for clip in group}) > 1
    ]
    kept = []
    for fold in folds:
        tested = {group_of[clip] for clip in fold.test if clip in group_of}
        train = tuple(clip for clip in fold.train if group_of.get(clip) not in tested)
        left_out = [clip.path.name for clip in fold.train if group_of.get(clip) in tested]
        if left_out:
            said.append(
                f"fold {fold.index}: {', '.join(left_out)} left out of training: the same audio "
                "is tested under another name"
            )
        if not train:
            raise InputError(
                f"fold {fold.index}: all of its training clips have the very audio of test clips; "
                "edge-ser corpus check --read-audio names them"
            )
        kept.append(replace(fold, train=train))
    anywhere = {group_of[clip] for fold in folds for clip in fold.test if clip in group_of}
    others = [clip for clip in extra if group_of.get(clip) not in anywhere]
    if len(others) < len(extra):
        said.append(
            f"{len(extra) - len(others)} extra clips left out: their audio is tested as well"
        )
    return kept, others, said
