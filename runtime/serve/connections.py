"""How many may connect, and how long they may take to say what they want."""

from __future__ import annotations

import asyncio
import resource
from typing import Any

__all__ = ["bounded_protocol", "most_connections"]

_REQUESTS = 64  # besides the streams and listeners
_OTHER_FILES = 64  # model, logs, microphone, uploads, broker
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def most_connections(max_clients: int) -> int:
    """Connections that can be open beside each other before the process has no files left.

    Without descriptors nothing can be accepted, and the event loop would do nothing but try.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = (
        max(soft - _OTHER_FILES, 1) if soft != resource.RLIM_INFINITY else max_clients + _REQUESTS
    )
    return min(max_clients + _REQUESTS, room)


def bounded_protocol(most: int, patience_s: float) -> type[asyncio.Protocol]:
    """Uvicorn's protocol with bounds that it does not have itself.

    Args:
        most: connections at a time; one more is told 503.
        patience_s: how long the head of a request may take, the next one of a connection too.
    """
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    class Bounded(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._answered: Any = None
            if len(self.connections) > most:
                transport.write(_FULL)
                transport.close()
                return
            self._wait()

        def _wait(self) -> None:
            asyncio.get_running_loop().call_later(patience_s, self._look)

        def _look(self) -> None:
            transport = self.transport
            if transport.is_closing() or transport.get_protocol() is not self:
                return  # gone, or a WebSocket by now
            request = self.cycle  # the last one whose head is complete, None before the first
            if (request is None or request.response_complete) and request is self._answered:
                transport.close()
                return
            self._answered = request
            self._wait()

    return Bounded
