"""A finding, and a fix that several of them share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edge_ser.runtime.doctor.answers import Answers

__all__ = ["Check", "groups_fix"]


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: of what was looked at.
        status: ``ok``, ``warn`` (works, but not as well as it could) or ``fail``.
        detail: what was found.
        fix: what to do; None where nothing is to be done.
    """

    name: str
    status: str
    detail: str
    fix: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def groups_fix(answers: Answers, wanted: tuple[str, ...]) -> str | None:
    """How this user gets into the groups ``wanted``; None if that is not needed."""
    missing = [name for name in wanted if name not in answers.groups]
    if not missing or answers.root_user:
        return None
    return f"sudo usermod -aG {','.join(missing)} $USER, then log in again"
