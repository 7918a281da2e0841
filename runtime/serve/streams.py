"""The route that takes a client's audio and gives it its events."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from edge_ser.errors import EdgeSerError, InputError, UsageError
from edge_ser.events import Event
from edge_ser.runtime.serve.closing import BAD_DATA, POLICY, SLOW, reason_of
from edge_ser.runtime.serve.service import Service
from edge_ser.runtime.serve.session import Session
from edge_ser.runtime.serve.vitals import Pulse
from edge_ser.runtime.serve.web import WebSocket, WebSocketDisconnect

__all__ = ["StreamRoutes"]


_DIGITS = 9  # Python refuses to read very long numbers


class StreamRoutes:
    """``/v1/stream``."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._n_streams = 0

    async def socket(self, socket: WebSocket) -> None:
        """Samples in binary frames, events in text frames."""
        await socket.accept()
        if (busy := self._service.busy) is not None:
            await socket.close(SLOW, busy)
            return
        # A client that went away hears nothing of what we were about to say.
        with (
            self._service.connected(),
            contextlib.suppress(WebSocketDisconnect, RuntimeError),
            self._service.vitals.watching(f"client {self._n_streams + 1}") as pulse,
        ):
            await self._run(socket, pulse)

    async def _run(self, socket: WebSocket, pulse: Pulse) -> None:
        service = self._service
        try:
            session, publish = self._session(socket, pulse)
        except EdgeSerError as error:
            await socket.close(POLICY, reason_of(error))
            return

        def push(data: bytes) -> list[Event]:
            with pulse.working():
                return session.push(data)

        send = _Sender(socket, service, publish)
        with contextlib.closing(session):
            await send.all([session.started()])
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                data, text = message.get("bytes"), message.get("text")
                try:
                    if data is not None:
                        # A few samples complete no step and are cheaper done than handed over.
                        events = await asyncio.to_thread(push, data)
                        ended = False
                    else:
                        ended = _is_end(text)
                        events = await asyncio.to_thread(session.finish) if ended else []
                except EdgeSerError as error:
                    await send.all([session.error(str(error), "invalid_audio_frame")])
                    await socket.close(BAD_DATA, reason_of(error))
                    return
                if not await send.all(events):
                    return
                if ended:
                    await socket.close(1000)
                    return

    def _session(self, socket: WebSocket, pulse: Pulse) -> tuple[Session, bool]:
        query = socket.query_params
        unknown = sorted(set(query) - {"gate", "every", "publish", "stream_id", "token"})
        if unknown:
            raise UsageError(
                f"unknown parameter {unknown[0]!r}; known: gate every publish stream_id"
            )
        for name in ("gate", "publish"):
            if query.get(name, "0") not in ("0", "1"):
                raise UsageError(f"{name} is 0 or 1, got {query[name]!r}")
        every = query.get("every", "1")
        if not (every.isdecimal() and len(every) <= _DIGITS and int(every) >= 1):
            raise UsageError(f"every is a number from 1, got {every!r}")
        self._n_streams += 1
        settings = self._service.settings
        session = Session(
            self._service.recognizer,
            query.get("stream_id", f"ws{self._n_streams}")[:64],
            gated=query.get("gate") == "1",
            every=int(every),
            hooks=(self._service.metrics.steps, pulse),
            utterances=settings.utterances,
            smoothing=settings.smoothing,
        )
        return session, query.get("publish") == "1"


class _Sender:
    """Sends a stream's own events; a client that streams but never reads is cut off."""

    def __init__(self, socket: WebSocket, service: Service, publish: bool) -> None:
        self._socket, self._service, self._publish = socket, service, publish

    async def all(self, events: list[Event]) -> bool:
        """Send ``events``; False when the client had to be cut off."""
        timeout = self._service.settings.send_timeout_s
        for event in events:
            text = event.to_json()
            if self._publish:
                self._service.emit(event)
            else:
                self._service.metrics.count(event)
            try:
                await asyncio.wait_for(self._socket.send_text(text), timeout)
            except asyncio.TimeoutError:
                self._service.metrics.dropped.inc()
                self._service.bus.n_dropped += 1
                with contextlib.suppress(asyncio.TimeoutError, RuntimeError):
                    reason = f"too slow: an event was not read for {timeout:g} s"
                    await asyncio.wait_for(self._socket.close(SLOW, reason), 1.0)
                return False
        return True


def _is_end(text: str | None) -> bool:
    """Whether a text frame asks for the end.

    Raises:
        InputError: it is anything else.
    """
    try:
        message: Any = json.loads(text or "")
    except (ValueError, RecursionError):
        message = None
    if isinstance(message, dict) and message.get("type") == "end":
        return True
    raise InputError(
        'a text frame must be {"type":"end"}; audio goes in binary frames (s16le mono)'
    )
