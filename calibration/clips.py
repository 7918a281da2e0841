"""Choose the clips that activation ranges are measured on, and those that judge the result."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from edge_ser.corpora import Clip
from edge_ser.errors import InputError

__all__ = ["choose_clips", "part_speakers"]

_CALIBRATION_SHARE = 0.4


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


def part_speakers(
    clips: Sequence[Clip], seed: int = 0
) -> tuple[tuple[Clip, ...], tuple[Clip, ...], bool]:
    """Clips to measure ranges on and clips to judge them, of different speakers.

    About two of five speakers of each corpus go to the first part. A corpus of a single
    speaker goes there whole; if nothing is left to judge with, both parts are all clips.

    Returns:
        The parts, and whether they share no speaker.
    """
    speakers: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        speakers[clip.corpus].add(clip.speaker)
    first: set[str] = set()
    for corpus, names in sorted(speakers.items()):
        order = sorted(names)
        random.Random(f"{seed}:calibration:{corpus}").shuffle(order)
        first.update(order[: max(1, round(_CALIBRATION_SHARE * len(order)))])
    ranges = tuple(clip for clip in clips if clip.speaker in first)
    parity = tuple(clip for clip in clips if clip.speaker not in first)
    if len({clip.label for clip in ranges}) < 2 or len({clip.label for clip in parity}) < 2:
        return tuple(clips), tuple(clips), False
    return ranges, parity, True
