"""What tables of trainings have in common: chosen rows, and flags handed on behind `--`."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence

from edge_ser.errors import UsageError

__all__ = ["chosen_rows", "parted"]


def parted(argv: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Words of the benchmark itself, and those behind `--` for the command that it runs.

    Args:
        argv: all words; None for those of this process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)
    return words[:cut], words[cut + 1 :]


def chosen_rows(text: str, rows: Collection[str]) -> list[str]:
    """The rows that `--only` names, from ``A,B``.

    Raises:
        UsageError: there is no such row.
    """
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in rows]
    if unknown:
        raise UsageError(f"--only {unknown[0]}: choose of {', '.join(rows)}")
    return names
