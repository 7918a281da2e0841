"""How a WebSocket is closed: the code, and a reason that fits into the frame."""

from __future__ import annotations

__all__ = ["BAD_DATA", "GOING", "POLICY", "SLOW", "reason_of"]

GOING, BAD_DATA, POLICY, SLOW = 1001, 1007, 1008, 1013  # codes of RFC 6455, 7.4.1
_MOST_BYTES = 123  # of a control frame's 125, two are the code


def reason_of(words: object) -> str:
    """``words`` as the reason of a closing frame, cut to what one can hold."""
    return str(words).encode()[:_MOST_BYTES].decode(errors="ignore")
