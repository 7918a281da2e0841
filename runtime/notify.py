"""Tell systemd how it goes (``sd_notify(3)``): one datagram to the socket it names.

The protocol is a dozen lines over ``AF_UNIX``; the packages that wrap it are no shorter to use.
"""

from __future__ import annotations

import os
import socket

__all__ = ["notify", "watchdog_s"]


def notify(*lines: str) -> bool:
    """Send ``READY=1``, ``STATUS=...``, ``WATCHDOG=1`` and the like.

    Returns:
        whether somebody was told; False where nothing asked to be.
    """
    where = os.environ.get("NOTIFY_SOCKET")
    if not where:
        return False
    address = "\0" + where[1:] if where.startswith("@") else where
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as wire:
        try:
            wire.connect(address)
            wire.send("\n".join(lines).encode())
        except OSError:
            return False
    return True


def watchdog_s() -> float | None:
    """Seconds after which systemd restarts a silent service; None where no watchdog is set."""
    asked, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID")
    if not asked.isdecimal() or int(asked) == 0 or pid not in (None, "", str(os.getpid())):
        return None
    return int(asked) / 1e6
