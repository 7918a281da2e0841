"""A thread that works until it is told to stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType

__all__ = ["Background"]

log = logging.getLogger(__name__)


class Background:
    """Runs ``work`` in a thread while the context is open.

    ``work`` gets an event that is set when it shall return. What it raises is logged and ends
    the thread, nothing else: whatever goes on beside the stream, the stream goes on.

    Args:
        patience_s: how long closing waits for ``work``; None for as long as it takes.
    """

    def __init__(
        self,
        work: Callable[[threading.Event], None],
        name: str,
        *,
        patience_s: float | None = None,
    ) -> None:
        self._work, self._patience_s = work, patience_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def alive(self) -> bool:
        """Whether ``work`` is at it."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Tell ``work`` to return, and wait for it."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(self._patience_s)

    def __enter__(self) -> Background:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            self._work(self._stop)
        except Exception:
            log.exception("%s ended", self._thread.name)
