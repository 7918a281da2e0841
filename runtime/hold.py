"""Do not listen while the robot speaks or its motors run; never stay deaf."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from edge_ser.errors import UsageError

__all__ = ["Hold"]

DEFAULT_TIMEOUT_MS = 10_000
LONGEST_TIMEOUT_MS = 300_000


class Hold:
    """A switch that falls back by itself; set from any thread.

    Several askers (a loudspeaker, a motor driver) hold independently, each under its own
    name; listening goes on when none holds any more and the cool-down has passed.

    Args:
        cool_down_ms: time after the release in which the room still echoes.
        clock: seconds, monotonic.
    """

    def __init__(
        self, cool_down_ms: float = 300.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if cool_down_ms < 0:
            raise UsageError(f"the cool-down cannot be negative, got {cool_down_ms:g} ms")
        self._cool_down_s = cool_down_ms / 1000
        self._clock = clock
        self._until: dict[str, float] = {}
        self._lock = threading.Lock()
        self._free_at = float("-inf")
        self.n_timeouts = 0

    def set(self, hold: bool, *, timeout_ms: float = DEFAULT_TIMEOUT_MS, who: str = "") -> None:
        """Hold or release.

        Args:
            hold: whether to stop listening.
            timeout_ms: after so long without another call the hold ends by itself.
            who: name of the asker.

        Raises:
            UsageError: the timeout is not in 1..300000 ms.
        """
        if hold and not 0 < timeout_ms <= LONGEST_TIMEOUT_MS:
            raise UsageError(
                f"timeout_ms must be above 0 and at most {LONGEST_TIMEOUT_MS}, "
                f"got {timeout_ms!s:.20}"
            )
        with self._lock:
            now = self._clock()
            if hold:
                self._until[who] = now + timeout_ms / 1000
            elif self._until.pop(who, None) is not None:
                self._free_at = max(self._free_at, now + self._cool_down_s)

    @property
    def state(self) -> str:
        """``listening``, ``held`` or ``cool_down``."""
        with self._lock:
            now = self._clock()
            for who, until in list(self._until.items()):
                if until <= now:
                    # Fails open: whoever forgot to release must not make the robot deaf.
                    del self._until[who]
                    self.n_timeouts += 1
                    self._free_at = max(self._free_at, until + self._cool_down_s)
            if self._until:
                return "held"
            return "cool_down" if now < self._free_at else "listening"

    @property
    def held(self) -> bool:
        """Whether not to listen now."""
        return self.state != "listening"
