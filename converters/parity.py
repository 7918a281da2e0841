"""How far two forms of a model are apart on the same clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from edge_ser.calibration.confidence import softmax
from edge_ser.metrics import score

__all__ = ["Parity", "compare"]


@dataclass(frozen=True)
class Parity:
    """Differences over the final verdicts of clips, and over every step.

    Attributes:
        clips: how many.
        agreement: share of clips with the same final label.
        step_agreement: share of steps with the same label.
        uar_change: UAR of the second minus that of the first.
        mean_score_error: mean absolute difference of a final probability.
        worst_score_error: largest difference of a probability in any step.
    """

    clips: int
    agreement: float
    step_agreement: float
    uar_change: float
    mean_score_error: float
    worst_score_error: float

    def to_dict(self) -> dict[str, float]:
        """JSON-ready."""
        return {key: round(value, 6) for key, value in asdict(self).items()}


def compare(
    first: Sequence[NDArray[np.float32]],
    second: Sequence[NDArray[np.float32]],
    truth: Sequence[int],
    labels: tuple[str, ...],
    temperature: float,
) -> Parity:
    """Compare two lists of ``(steps, labels)`` logits of the same clips."""
    a = [softmax(logits / temperature) for logits in first]
    b = [softmax(logits / temperature) for logits in second]
    final_a, final_b = np.stack([p[-1] for p in a]), np.stack([p[-1] for p in b])
    same = np.concatenate([p.argmax(axis=1) == q.argmax(axis=1) for p, q in zip(a, b, strict=True)])
    return Parity(
        clips=len(a),
        agreement=float(np.mean(final_a.argmax(axis=1) == final_b.argmax(axis=1))),
        step_agreement=float(same.mean()),
        uar_change=score(truth, final_b, labels).uar - score(truth, final_a, labels).uar,
        mean_score_error=float(np.abs(final_a - final_b).mean()),
        worst_score_error=max(float(np.abs(p - q).max()) for p, q in zip(a, b, strict=True)),
    )
