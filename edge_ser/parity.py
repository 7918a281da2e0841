"""How far two forms of a model are apart on the same clips, and how far they may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.metrics import score

__all__ = ["Gates", "Parity", "compare", "missed_gates"]

_ENOUGH_CLIPS = 100
"""With fewer, one verdict that turns would move the shares of clips by a point or more."""
_TIE = 0.06
"""A lead that two errors of 0.03, which the gates allow, can turn round."""


@dataclass(frozen=True)
class Parity:
    """Differences over the final verdicts of clips, and over every step.

    Attributes:
        clips: how many.
        steps: how many in all.
        agreement: share of clips with the same final label.
        step_agreement: share of steps with the same label.
        decided_agreement: the same over the steps in which the first form's best label leads by
            more than 0.06; 1 if there are none.
        uar_change: UAR of the second minus that of the first; None without labels.
        mean_score_error: mean absolute difference of a final probability.
        worst_score_error: largest difference of a probability in any step.
        worst_clip: index of the clip where that is.
    """

    clips: int
    steps: int
    agreement: float
    step_agreement: float
    decided_agreement: float
    uar_change: float | None
    mean_score_error: float
    worst_score_error: float
    worst_clip: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            key: round(value, 6) if isinstance(value, float) else value
            for key, value in asdict(self).items()
            if key != "worst_clip"
        }


@dataclass(frozen=True)
class Gates:
    """What any form of a model must reach against its float form.

    Attributes:
        agreement: least share of clips with the same final label; of decided steps where there
            are fewer than 100 clips.
        uar_change: largest change of UAR, either way, over 100 labelled clips or more.
        mean_score_error: largest mean error of a final probability.
        worst_score_error: largest error of any probability in any step: what goes wrong in few
            steps, such as a state that is not reset or a range that loud speech leaves, moves no
            mean. Sound INT8 forms were 0.03 to 0.26 away in the worst of some thousand steps,
            students with votes of a corpus, whose logits are larger, the most.
    """

    agreement: float = 0.95
    uar_change: float = 0.02
    mean_score_error: float = 0.03
    worst_score_error: float = 0.3


def compare(
    first: Sequence[NDArray[np.floating[Any]]],
    second: Sequence[NDArray[np.floating[Any]]],
    truth: Sequence[int | None],
    labels: tuple[str, ...],
    temperature: float,
) -> Parity:
    """Compare two lists of ``(steps, labels)`` logits of the same clips.

    Args:
        truth: index of each clip's label, None where it is not known.
    """
    a = [_softmax(logits / temperature) for logits in first]
    b = [_softmax(logits / temperature) for logits in second]
    final_a, final_b = np.stack([p[-1] for p in a]), np.stack([p[-1] for p in b])
    same = np.concatenate([p.argmax(axis=1) == q.argmax(axis=1) for p, q in zip(a, b, strict=True)])
    decided = np.concatenate([_lead(p) > _TIE for p in a])
    worst = [float(np.abs(p - q).max()) for p, q in zip(a, b, strict=True)]
    known = [index for index, label in enumerate(truth) if label is not None]
    change = None
    if known:
        right = [label for label in truth if label is not None]
        uar = [score(right, final[known], labels).uar for final in (final_a, final_b)]
        change = float(uar[1] - uar[0])
    return Parity(
        clips=len(a),
        steps=len(same),
        agreement=float(np.mean(final_a.argmax(axis=1) == final_b.argmax(axis=1))),
        step_agreement=float(same.mean()),
        decided_agreement=float(same[decided].mean()) if decided.any() else 1.0,
        uar_change=change,
        mean_score_error=float(np.abs(final_a - final_b).mean()),
        worst_score_error=max(worst),
        worst_clip=int(np.argmax(worst)),
    )


def missed_gates(name: str, parity: Parity, gates: Gates) -> list[str]:
    """What ``parity`` does not reach, a sentence each that begins with ``name``."""
    missed = []
    many = parity.clips >= _ENOUGH_CLIPS
    # The steps of a few clips hang together: one long near-tie would be most of what differs.
    agreement = parity.agreement if many else parity.decided_agreement
    if agreement < gates.agreement:
        of = "clips" if many else "decided steps"
        missed.append(f"{name}: label agreement {agreement:.3f} of {of} < {gates.agreement}")
    if many and abs(parity.uar_change or 0.0) > gates.uar_change:
        missed.append(f"{name}: UAR change {parity.uar_change:+.3f} beyond {gates.uar_change}")
    # Written so that NaN misses, too.
    if not parity.mean_score_error <= gates.mean_score_error:
        missed.append(
            f"{name}: mean score error {parity.mean_score_error:.3f} > {gates.mean_score_error}"
        )
    if not parity.worst_score_error <= gates.worst_score_error:
        missed.append(
            f"{name}: worst score error {parity.worst_score_error:.3f} > {gates.worst_score_error}"
        )
    return missed


def _lead(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(steps,)`` what the best label is ahead of the second."""
    best = np.sort(scores, axis=1)
    return np.asarray(best[:, -1] - best[:, -2])


def _softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
