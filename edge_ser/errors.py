"""The errors a user can meet, each with the exit status the command line gives it."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "NO_ROOM",
    "BackendError",
    "EdgeSerError",
    "GateMissed",
    "InputError",
    "MissingExtra",
    "OutputError",
    "PackError",
    "UsageError",
    "cannot_write",
]

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""Numbers of system errors that a place gives which could be written to before."""


class EdgeSerError(Exception):
    """Base of all errors that edge-ser raises on purpose.

    The message says what was wrong, where, and what to do; the command line prints
    it as it is, without a traceback.
    """

    exit_status = 1


class UsageError(EdgeSerError):
    """A flag, setting or argument that makes no sense."""

    exit_status = 2


class InputError(EdgeSerError):
    """Audio, a corpus, a checkpoint or another input that cannot be used."""

    exit_status = 2


class PackError(EdgeSerError):
    """A model pack that is unknown, broken, tampered with or from another format."""

    exit_status = 2


class BackendError(EdgeSerError):
    """An inference engine that is unknown, missing on this machine, or failed."""

    exit_status = 2


class MissingExtra(EdgeSerError):
    """A package that belongs to an extra which is not installed.

    Args:
        package: the distribution that is missing.
        extra: the extra of edge-ser that brings it.
        purpose: what it is needed for, to complete "... is needed to".
    """

    exit_status = 2

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{package} is needed to {purpose}; install it with: pip install 'edge-ser[{extra}]'"
        )
        self.package = package
        self.extra = extra


class OutputError(EdgeSerError):
    """A file that could not be written whole, because the disk is full or fails."""


class GateMissed(EdgeSerError):
    """A measured value that misses its gate (accuracy, parity or latency)."""

    exit_status = 3


def cannot_write(path: Path | str | None, error: OSError) -> EdgeSerError:
    """What to raise when ``path`` cannot be written: no room is no fault of the command."""
    kind = OutputError if error.errno in NO_ROOM else InputError
    return kind(f"cannot write {path}: {error.strerror or error}")
