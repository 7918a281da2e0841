"""Look at the board again and again beside a running stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from edge_ser.errors import UsageError
from edge_ser.runtime.background import Background
from edge_ser.runtime.board.condition import BoardCondition
from edge_ser.runtime.board.reader import Board

__all__ = ["BoardSampler"]


class BoardSampler:
    """Tells ``sink`` the monotonic time (``perf_counter_ns``) and condition every period.

    A context manager; a last look is taken when it closes. The sink is called in the thread
    of the sampler. One that raises is told of once and not called again.
    """

    def __init__(
        self,
        board: Board,
        sink: Callable[[int, BoardCondition], None],
        *,
        period_s: float = 1.0,
    ) -> None:
        if not period_s > 0:
            raise UsageError(f"the board is looked at every period, got {period_s} s")
        self._board, self._sink, self._period_s = board, sink, period_s
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
        while True:
            self._sink(time.perf_counter_ns(), self._board.read())
            if stop.wait(self._period_s):
                break
        self._sink(time.perf_counter_ns(), self._board.read())
