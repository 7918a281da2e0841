"""What a student learns by default; beside the training, which a board does not have."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DistillWeights"]


@dataclass(frozen=True)
class DistillWeights:
    """What each lesson weighs, see ``DistillLoss``; 0 leaves it out."""

    label: float = 0.0
    states: float = 2.0
    verdict: float = 0.25
    evidence: float = 0.5
    summary: float = 0.0
    relation: float = 0.0
