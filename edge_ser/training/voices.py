"""How many other voices each training clip gets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from edge_ser.corpora import Clip

__all__ = ["voices_of"]

_MOST = 9


def voices_of(clips: Sequence[Clip], least: int, wanted: int) -> dict[Clip, int]:
    """Other voices beside each clip's own, more where a corpus has few speakers.

    A student learns few speakers by heart where it should learn to listen. So a corpus gets
    about ``wanted`` voices in all, its speakers counted, and nine others for each clip at most.
    Clips without a label get ``least``: nobody learns their labels by heart.

    Args:
        least: other voices of every clip; 0 gives none to any.
    """
    speakers = defaultdict(set)
    for clip in clips:
        speakers[clip.corpus].add(clip.speaker)
    most = {
        corpus: max(least, min(_MOST, round(wanted / len(found)) - 1)) if least else 0
        for corpus, found in speakers.items()
    }
    return {clip: most[clip.corpus] if clip.label else least for clip in clips}
