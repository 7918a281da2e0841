"""Choose the clips that activation ranges are measured on."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from edge_ser.corpora import Clip
from edge_ser.errors import InputError

__all__ = ["choose_clips"]


def choose_clips(clips: Sequence[Clip], n: int, seed: int = 0) -> tuple[Clip, ...]:
    """About ``n`` clips, balanced over corpora and labels and spread over speakers.

    Raises:
        InputError: there are no clips, or only one label occurs: ranges of one emotion do not
            speak for the others.
    """
    labels = {clip.label for clip in clips}
    if not clips:
        raise InputError("no calibration clips; name a corpus with --calibration-data corpus=DIR")
    if len(labels) < 2:
        raise InputError(
            f"all {len(clips)} calibration clips are {next(iter(labels))}; "
            "calibrate with clips of every label"
        )
    rng = random.Random(seed)
    strata: dict[tuple[str, str], dict[str, list[Clip]]] = defaultdict(lambda: defaultdict(list))
    for clip in clips:
        strata[clip.corpus, clip.label][clip.speaker].append(clip)
    # Per corpus and label: one clip of each speaker in turn, speakers in random order.
    queues = []
    for key in sorted(strata):
        speakers = list(strata[key].values())
        rng.shuffle(speakers)
        for speaker in speakers:
            rng.shuffle(speaker)
        rounds = max(map(len, speakers))
        queues.append([s[i] for i in range(rounds) for s in speakers if i < len(s)])
    chosen: list[Clip] = []
    position = 0
    while len(chosen) < n and any(position < len(queue) for queue in queues):
        chosen += [queue[position] for queue in queues if position < len(queue)]
        position += 1
    return tuple(chosen[:n])
