"""One event to many listeners; none of them can make another wait."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Bus", "Client"]


class Client:
    """The bounded queue of one listener; used in the event loop only.

    Attributes:
        dropped: why the listener was cut off, None while it keeps up.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[str] = deque()
        self._ready = asyncio.Event()
        self.dropped: str | None = None
        self.closed = False

    def offer(self, text: str) -> None:
        """Queue ``text``; a listener whose queue is full is cut off rather than served holes."""
        if self.dropped is not None or self.closed:
            return
        if len(self._waiting) >= self._limit:
            self.dropped = f"too slow: {self._limit} events were waiting"
            self._waiting.clear()
        else:
            self._waiting.append(text)
        self._ready.set()

    def close(self) -> None:
        """No more events will come; what waits is still given."""
        self.closed = True
        self._ready.set()

    async def next(self) -> str | None:
        """The next event, None after the last or when cut off."""
        while not self._waiting:
            if self.dropped is not None or self.closed:
                return None
            self._ready.clear()
            await self._ready.wait()
        return self._waiting.popleft()


class Bus:
    """Fans events out; used in the event loop only.

    Args:
        limit: events that may wait for one listener.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.clients: set[Client] = set()
        self.n_dropped = 0
        self.n_events = 0
        self._closed = False

    def publish(self, text: str) -> None:
        """Give ``text`` to every listener."""
        self.n_events += 1
        for client in tuple(self.clients):
            client.offer(text)
            if client.dropped is not None:
                self.clients.discard(client)
                self.n_dropped += 1

    def join(self) -> Client:
        """A new listener, which hears from now on."""
        client = Client(self._limit)
        if self._closed:
            client.close()
        self.clients.add(client)
        return client

    def leave(self, client: Client) -> None:
        """The listener is gone."""
        self.clients.discard(client)

    def drop(self, client: Client, reason: str) -> None:
        """Cut ``client`` off, unless it already is."""
        if client.dropped is None:
            client.dropped = reason
            self.n_dropped += 1
        self.clients.discard(client)

    def close(self) -> None:
        """Let every listener end, and those who join later too."""
        self._closed = True
        for client in self.clients:
            client.close()
