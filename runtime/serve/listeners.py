"""Routes that give the events of the local source: server-sent, or over a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator

from edge_ser.runtime.serve.bus import Client
from edge_ser.runtime.serve.closing import GOING, SLOW, reason_of
from edge_ser.runtime.serve.service import Service
from edge_ser.runtime.serve.web import (
    JSONResponse,
    Message,
    Request,
    Response,
    Send,
    StreamingResponse,
    WebSocket,
    WebSocketDisconnect,
)

__all__ = ["ListenerRoutes"]

log = logging.getLogger(__name__)


class ListenerRoutes:
    """``/v1/events`` in its two forms."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def server_sent(self, _: Request) -> Response:
        """Events as ``text/event-stream``."""
        service = self._service
        if (busy := service.busy) is not None:
            return JSONResponse({"error": busy}, 503)
        client = service.bus.join()

        async def lines() -> AsyncGenerator[str, None]:
            with service.connected():
                try:
                    yield ": connected\n\n"
                    while (text := await client.next()) is not None:
                        yield f"data: {text}\n\n"
                    if client.dropped is not None:
                        service.metrics.dropped.inc()
                        yield f"event: dropped\ndata: {json.dumps(client.dropped)}\n\n"
                finally:
                    service.bus.leave(client)

        return _Patient(lines(), client, service)

    async def socket(self, socket: WebSocket) -> None:
        """Events as text frames."""
        service = self._service
        await socket.accept()
        if (busy := service.busy) is not None:
            await socket.close(SLOW, busy)
            return
        client = service.bus.join()
        with service.connected():
            sending = asyncio.create_task(self._send_all(socket, client))
            try:
                while (await socket.receive())["type"] != "websocket.disconnect":
                    pass  # a listener has nothing to say
            except (WebSocketDisconnect, RuntimeError):
                pass
            finally:
                service.bus.leave(client)
                client.close()
                sending.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await sending

    async def _send_all(self, socket: WebSocket, client: Client) -> None:
        """Send what ``client`` gets; one that does not read is cut off."""
        timeout = self._service.settings.send_timeout_s
        code, reason = GOING, "the service ends"
        try:
            while (text := await client.next()) is not None:
                await asyncio.wait_for(socket.send_text(text), timeout)
            if client.dropped is not None:
                code, reason = SLOW, client.dropped
        except asyncio.TimeoutError:
            code, reason = SLOW, f"too slow: an event was not read for {timeout:g} s"
            self._service.bus.drop(client, reason)
        except (WebSocketDisconnect, RuntimeError):
            return
        if code == SLOW:
            self._service.metrics.dropped.inc()
        with contextlib.suppress(asyncio.TimeoutError, WebSocketDisconnect, RuntimeError):
            await asyncio.wait_for(socket.close(code, reason_of(reason)), 1.0)
        self._service.bus.leave(client)


class _Patient(StreamingResponse):
    """A server-sent stream that is given up when its reader does not read."""

    def __init__(self, lines: AsyncGenerator[str, None], client: Client, service: Service) -> None:
        headers = {"Cache-Control": "no-store"}
        super().__init__(lines, media_type="text/event-stream", headers=headers)
        self._lines, self._client, self._service = lines, client, service

    async def stream_response(self, send: Send) -> None:
        """Send all lines, each in time; the connection is closed if one is not."""
        timeout = self._service.settings.send_timeout_s

        async def in_time(message: Message) -> None:
            await asyncio.wait_for(send(message), timeout)

        try:
            await super().stream_response(in_time)
        except asyncio.TimeoutError:
            reason = f"too slow: an event was not read for {timeout:g} s"
            self._service.bus.drop(self._client, reason)
            self._service.metrics.dropped.inc()
            log.warning("a listener was cut off (%s)", self._client.dropped)
            await self._lines.aclose()
