"""Progress of long work on stderr: a bar on a terminal, sparse lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import suppress
from typing import TypeVar

__all__ = ["say", "track"]

T = TypeVar("T")
_SECONDS_BETWEEN_LINES = 15.0


def say(message: str) -> None:
    """One line of progress."""
    with suppress(BrokenPipeError):  # who reads the progress may go, the work does not
        print(message, file=sys.stderr, flush=True)


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items`` and tell how far the work is.

    Args:
        what: name of the work, shown with the progress.
        total: number of items where ``items`` has no length.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as rich_track

        yield from rich_track(items, what, total=total, console=Console(stderr=True))
        return
    last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - last > _SECONDS_BETWEEN_LINES:
            say(f"{what}: {done}/{total if total is not None else '?'}")
            last = now
        yield item
