"""Which hooks raised or were slow, known to all streams that they concern."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

__all__ = ["HookFaults"]


class HookFaults:
    """Reports each hook once, however many streams and threads it watches."""

    def __init__(self) -> None:
        self._raised = _Known()
        self._slow = _Known()

    def left_out(self, hook: object) -> bool:
        """Whether ``hook`` has raised."""
        return hook in self._raised

    def raised(self, hook: object, step: int, stream_id: str) -> None:
        """Tell of a hook that raised; to be called while the exception is handled."""
        if self._raised.add(hook):
            _log().exception(
                "hook %r raised at step %d of stream %s and is left out from now on",
                hook,
                step,
                stream_id,
            )

    def slow(self, hook: object, took_ns: int, step: int, stream_id: str, has_ns: int) -> None:
        """Tell of a hook that took a good part of the ``has_ns`` of a step."""
        if self._slow.add(hook):
            _log().warning(
                "hook %r took %.1f ms at step %d of stream %s, which has %.0f ms; "
                "it should hand its work to another thread",
                hook,
                took_ns / 1e6,
                step,
                stream_id,
                has_ns / 1e6,
            )


class _Known:
    """A set of objects by identity, which lets those go that nobody else has."""

    def __init__(self) -> None:
        self._by_id: dict[int, object] = {}
        self._lock = threading.Lock()

    def __contains__(self, what: object) -> bool:
        return id(what) in self._by_id

    def add(self, what: object) -> bool:
        """Whether it was not in the set before."""
        key = id(what)
        with self._lock:
            if key in self._by_id:
                return False
            try:
                self._by_id[key] = weakref.ref(what, lambda _: self._by_id.pop(key, None))
            except TypeError:  # it allows none; an identity must not be given anew, so keep it
                self._by_id[key] = what
            return True


def _log() -> logging.Logger:
    import logging  # a start without trouble does without it

    return logging.getLogger(__name__)
