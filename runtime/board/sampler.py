"""Look at the board again and again beside a running stream."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

from edge_ser.errors import UsageError
from edge_ser.runtime.background import Background
from edge_ser.runtime.board.condition import BoardCondition
from edge_ser.runtime.board.reader import Board

__all__ = ["BoardSampler"]

log = logging.getLogger(__name__)


class BoardSampler:
    """Tells ``sinks`` the monotonic time (``perf_counter_ns``) and condition every period.

    A context manager; a last look is taken when it closes. The sinks are called in the thread
    of the sampler, and all hear of the same look: reading the sensors is what costs. One that
    raises is told of once and not called again.

    Args:
        period_s: from one look to the next. What it tells of changes slowly, and a look takes
            as much processor time as one or two steps.
    """

    def __init__(
        self,
        board: Board,
        *sinks: Callable[[int, BoardCondition], None],
        period_s: float = 2.0,
    ) -> None:
        if not period_s > 0:
            raise UsageError(f"the board is looked at every period, got {period_s} s")
        self._board, self._sinks, self._period_s = board, list(sinks), period_s
        self._background = Background(self._watch, "watching the board")

    def __enter__(self) -> BoardSampler:
        self._background.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._background.stop()

    def _watch(self, stop: threading.Event) -> None:
        stopped = False
        while self._sinks:
            self._look()
            if stopped:
                break
            stopped = stop.wait(self._period_s)

    def _look(self) -> None:
        t_ns, condition = time.perf_counter_ns(), self._board.read()
        for sink in tuple(self._sinks):
            try:
                sink(t_ns, condition)
            except Exception:  # the others go on
                log.exception("watching the board ended for %r", sink)
                self._sinks.remove(sink)
