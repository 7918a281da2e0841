"""The student and the throw-away heads that guess what its teacher sees."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from edge_ser.models.student import Student, StudentOutput

__all__ = ["STATE_DEPTHS", "Distiller", "Guesses"]

STATE_DEPTHS = (0.15, 0.25, 0.6)
"""Weights of the states as the intermediate and high depth of the semantic branch and the
fusion guess them."""


class Guesses(NamedTuple):
    """Of the student and its throw-away heads.

    Attributes:
        output: of the student.
        states: ``(batch, width, tokens)`` per depth.
        summary: ``(batch, layers * width, steps)``.
        evidence: ``(batch, layers * labels, steps)`` on what was heard so far, and ``(…,
            tokens)`` on each moment.
    """

    output: StudentOutput
    states: list[Tensor]
    summary: Tensor | None
    evidence: tuple[Tensor, Tensor] | None


class Distiller(nn.Module):
    """A student with throw-away heads that guess what the teacher sees.

    Args:
        width: of the teacher's states.
        layers: of the teacher; the summary has all of them side by side.
        states: have heads that guess the states.
        summary: have a head that guesses the summary.
        evidence: have a head that guesses the evidence.
    """

    def __init__(
        self,
        student: Student,
        width: int,
        layers: int,
        *,
        states: bool,
        summary: bool,
        evidence: bool,
    ) -> None:
        super().__init__()
        c = student.config
        self.student = student
        self.state_heads = nn.ModuleList(
            nn.Conv1d(channels, width, 1) for channels in (c.trunk, c.trunk, c.fused) if states
        )
        self.summary_head = nn.Conv1d(c.fused, layers * width, 1) if summary else None
        judged = layers * len(c.labels)
        self.evidence_head = nn.Conv1d(c.fused, judged, 1) if evidence else None

    @property
    def readouts(self) -> nn.ModuleList:
        """The heads and the last layer, off which everything is read."""
        heads = (*self.state_heads, self.summary_head, self.evidence_head)
        return nn.ModuleList(
            [*self.student.readouts, *(head for head in heads if head is not None)]
        )

    def forward(self, mel: Tensor, context: int | None = None) -> Guesses:
        """What the student says of ``(batch, n_mels, frames) float32`` and its heads guess."""
        output = self.student(mel, context)
        depths = (*output.semantic[1:], output.fused)
        return Guesses(
            output,
            [head(depth) for head, depth in zip(self.state_heads, depths, strict=False)],
            None if self.summary_head is None else self.summary_head(output.pooled),
            # The head is linear, so what it makes of a mean is the mean of what it makes of
            # each token: one head learns both.
            None
            if self.evidence_head is None
            else (self.evidence_head(output.pooled), self.evidence_head(output.fused)),
        )
