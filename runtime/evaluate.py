"""Accuracy of a pack: the final event of every clip, heard step by step."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_ser.audio import read_mono
from edge_ser.errors import InputError
from edge_ser.metrics import Scores, score
from edge_ser.runtime.recognizer import Recognizer

if TYPE_CHECKING:
    from edge_ser.corpora import Clip

__all__ = ["Evaluation", "evaluate"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Scores of a pack and what they are made of.

    Attributes:
        predictions: per clip ``file``, ``label``, ``predicted`` and ``probabilities``.
        unreadable: clips that were left out because they could not be read.
    """

    scores: Scores
    predictions: list[dict[str, Any]]
    unreadable: int


def evaluate(
    recognizer: Recognizer, clips: Sequence[Clip], *, skip_unreadable: bool = False
) -> Evaluation:
    """Stream every clip through the pack and score the final events.

    Args:
        clips: with labels that the pack knows.
        skip_unreadable: leave a clip out, with a warning, instead of stopping at it.

    Raises:
        InputError: a clip cannot be read, or none can.
    """
    labels = recognizer.labels
    truth, rows, predictions = [], [], []
    unreadable = 0
    for clip in clips:
        try:
            with recognizer.stream(clip.path.stem, every=2**31) as stream:
                for block in read_mono(clip.path, recognizer.rate_hz):
                    stream.push(block)
                final = stream.finish()
        except InputError as error:
            if not skip_unreadable:
                raise InputError(f"{error} (--skip-unreadable leaves such clips out)") from error
            log.warning("%s", error)
            unreadable += 1
            continue
        assert final is not None
        truth.append(labels.index(clip.label))
        rows.append(list(final.probabilities.values()))
        predictions.append(
            {
                "file": clip.path.name,
                "label": clip.label,
                "predicted": final.label,
                "probabilities": {k: round(v, 6) for k, v in final.probabilities.items()},
            }
        )
    if not rows:
        raise InputError(f"none of the {len(clips)} clips could be read")
    return Evaluation(score(truth, np.array(rows), labels), predictions, unreadable)
