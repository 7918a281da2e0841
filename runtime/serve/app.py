"""The routes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import edge_ser
from edge_ser.errors import EdgeSerError, InputError, MissingExtra, UsageError
from edge_ser.events import Event
from edge_ser.runtime.serve.bus import Client
from edge_ser.runtime.serve.guard import App, Guard
from edge_ser.runtime.serve.service import Service
from edge_ser.runtime.serve.session import Session
from edge_ser.runtime.serve.upload import file_of_form, samples_of
from edge_ser.runtime.serve.vitals import Pulse

try:
    from starlette.applications import Starlette
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect
except ImportError:
    raise MissingExtra("starlette", "serve", "serve over HTTP") from None

__all__ = ["build_app"]

KIOSK = Path(edge_ser.__file__).parent / "kiosk" / "index.html"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_SLOW, _BUSY, _BAD_DATA, _POLICY, _GOING = 1013, 1013, 1007, 1008, 1001


def build_app(
    service: Service,
    *,
    token: str | None = None,
    origins: tuple[str, ...] = (),
    loopback: bool = True,
) -> App:
    """The ASGI application of ``service``, behind its guard.

    Args:
        token: asked of every request but the health checks; None for none.
        origins: origins of browser pages that are allowed besides the service's own.
        loopback: whether it is served on loopback only.
    """
    routes = _Routes(service)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    app = Starlette(
        routes=[
            Route("/", routes.kiosk),
            Route("/healthz", routes.healthz),
            Route("/readyz", routes.readyz),
            Route("/metrics", routes.metrics),
            Route("/v1/state", routes.state),
            Route("/v1/events", routes.events),
            WebSocketRoute("/v1/events", routes.events_socket),
            WebSocketRoute("/v1/stream", routes.stream),
            Route("/v1/file", routes.file, methods=["POST"]),
            Route("/v1/hold", routes.hold, methods=["POST"]),
        ],
        lifespan=lifespan,
    )
    return Guard(app, token=token, origins=origins, loopback=loopback)


class _Routes:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._n_streams = 0

    async def kiosk(self, _: Request) -> Response:
        return HTMLResponse(KIOSK.read_text(encoding="utf-8"), headers=_HEADERS)

    async def healthz(self, _: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(self, _: Request) -> Response:
        ready, why = self._service.ready
        return JSONResponse({"ready": ready, "detail": why}, 200 if ready else 503)

    async def state(self, _: Request) -> Response:
        return JSONResponse(self._service.state(), headers={"Cache-Control": "no-store"})

    async def metrics(self, _: Request) -> Response:
        service, metrics = self._service, self._service.metrics
        listening = service.listener is not None and service.listener.source is not None
        metrics.source_up.set(listening)
        metrics.clients.set(service.n_connections)
        metrics.held.set(service.hold.held)
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def events(self, request: Request) -> Response:
        if (busy := self._busy()) is not None:
            return JSONResponse({"error": busy}, 503)
        client = self._service.bus.join()

        async def lines() -> AsyncIterator[str]:
            self._service.n_connections += 1
            try:
                yield ": connected\n\n"
                while (text := await client.next()) is not None:
                    yield f"data: {text}\n\n"
                if client.dropped is not None:
                    self._service.metrics.dropped.inc()
                    yield f"event: dropped\ndata: {json.dumps(client.dropped)}\n\n"
            finally:
                self._service.n_connections -= 1
                self._service.bus.leave(client)

        return StreamingResponse(
            lines(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    async def events_socket(self, socket: WebSocket) -> None:
        await socket.accept()
        if (busy := self._busy()) is not None:
            await socket.close(_BUSY, busy)
            return
        client = self._service.bus.join()
        self._service.n_connections += 1
        sending = asyncio.create_task(self._send_all(socket, client))
        try:
            while (await socket.receive())["type"] != "websocket.disconnect":
                pass  # a listener has nothing to say
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            self._service.n_connections -= 1
            self._service.bus.leave(client)
            client.close()
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await sending

    async def _send_all(self, socket: WebSocket, client: Client) -> None:
        """Send what ``client`` gets; one that does not read is cut off."""
        timeout = self._service.settings.send_timeout_s
        code, reason = _GOING, "the service ends"
        try:
            while (text := await client.next()) is not None:
                await asyncio.wait_for(socket.send_text(text), timeout)
            if client.dropped is not None:
                code, reason = _SLOW, client.dropped
        except asyncio.TimeoutError:
            code, reason = _SLOW, f"too slow: an event was not read for {timeout:g} s"
            client.dropped = reason
        except (WebSocketDisconnect, RuntimeError):
            return
        if code == _SLOW:
            self._service.metrics.dropped.inc()
            self._service.bus.n_dropped += reason.startswith("too slow: an")
        self._service.bus.leave(client)
        with contextlib.suppress(asyncio.TimeoutError, WebSocketDisconnect, RuntimeError):
            await asyncio.wait_for(socket.close(code, reason[:120]), 1.0)

    async def stream(self, socket: WebSocket) -> None:
        await socket.accept()
        if (busy := self._busy()) is not None:
            await socket.close(_BUSY, busy)
            return
        self._service.n_connections += 1
        try:
            await self._run_stream(socket)
        except (WebSocketDisconnect, RuntimeError):
            pass  # the client went away, whatever we were about to say
        finally:
            self._service.n_connections -= 1

    async def _run_stream(self, socket: WebSocket) -> None:
        with self._service.vitals.watching(f"client {self._n_streams + 1}") as pulse:
            await self._pump_stream(socket, pulse)

    async def _pump_stream(self, socket: WebSocket, pulse: Pulse) -> None:
        service = self._service
        try:
            session, publish = self._session(socket, pulse)
        except EdgeSerError as error:
            await socket.close(_POLICY, str(error)[:120])
            return

        def push(data: bytes) -> list[Event]:
            with pulse.working():
                return session.push(data)

        send = _Sender(socket, service, publish)
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
                await socket.close(_BAD_DATA, str(error)[:120])
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
        if not (query.get("every", "1").isdecimal() and int(query.get("every", "1")) >= 1):
            raise UsageError(f"every is a number from 1, got {query['every']!r}")
        self._n_streams += 1
        settings = self._service.settings
        session = Session(
            self._service.recognizer,
            query.get("stream_id", f"ws{self._n_streams}")[:64],
            gated=query.get("gate") == "1",
            every=int(query.get("every", "1")),
            hooks=(self._service.metrics, pulse),
            utterances=settings.utterances,
            smoothing=settings.smoothing,
        )
        return session, query.get("publish") == "1"

    async def file(self, request: Request) -> Response:
        limit = self._service.settings.max_upload_bytes
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    return JSONResponse(
                        {"error": f"the upload is larger than {limit} bytes (--max-upload-mb)"}, 413
                    )
        except ClientDisconnect:
            return Response(status_code=400)
        try:
            events = await asyncio.to_thread(self._recognize, request, bytes(body))
        except InputError as error:
            return JSONResponse({"error": str(error)}, 400)
        except EdgeSerError as error:
            return JSONResponse({"error": str(error)}, 422)
        if "application/x-ndjson" in request.headers.get("accept", ""):
            text = "".join(event.to_json() + "\n" for event in events)
            return Response(text, media_type="application/x-ndjson")
        return JSONResponse({"events": [event.to_dict() for event in events]})

    def _recognize(self, request: Request, body: bytes) -> list[Event]:
        content_type = request.headers.get("content-type", "")
        if content_type.startswith("multipart/form-data"):
            body = file_of_form(content_type, body)
        with self._service.vitals.watching("a file") as pulse:
            return self._heard_in(request.query_params.get("gate") == "1", body, pulse)

    def _heard_in(self, gated: bool, body: bytes, pulse: Pulse) -> list[Event]:
        service = self._service
        session = Session(
            service.recognizer,
            "file",
            gated=gated,
            hooks=(service.metrics, pulse),
            utterances=service.settings.utterances,
            smoothing=service.settings.smoothing,
        )
        events = [session.started()]
        for samples in samples_of(body, service.recognizer.rate_hz):
            with pulse.working():
                events += session.push_samples(samples)
        events += session.finish()
        for event in events:
            service.metrics.count(event)
        return events

    async def hold(self, request: Request) -> Response:
        try:
            wish = json.loads(await request.body())
            hold, timeout_ms, who = _hold_of(wish)
            self._service.hold.set(hold, timeout_ms=timeout_ms, who=who)
        except (ValueError, UsageError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"hold": self._service.hold.state})

    def _busy(self) -> str | None:
        limit = self._service.settings.max_connections
        if self._service.n_connections >= limit:
            return f"busy: {limit} clients are connected (--max-active-connections)"
        return None


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
                    await asyncio.wait_for(self._socket.close(_SLOW, reason), 1.0)
                return False
        return True


def _is_end(text: str | None) -> bool:
    """Whether a text frame asks for the end.

    Raises:
        InputError: it is anything else.
    """
    try:
        message: Any = json.loads(text or "")
    except ValueError:
        message = None
    if isinstance(message, dict) and message.get("type") == "end":
        return True
    raise InputError(
        'a text frame must be {"type":"end"}; audio goes in binary frames (s16le mono)'
    )


def _hold_of(wish: Any) -> tuple[bool, float, str]:
    if not isinstance(wish, dict) or not isinstance(wish.get("hold"), bool):
        raise ValueError('send {"hold": true, "timeout_ms": 3000} or {"hold": false}')
    unknown = sorted(set(wish) - {"hold", "timeout_ms", "who"})
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; known are hold, timeout_ms, who")
    timeout_ms = wish.get("timeout_ms", 10_000)
    if isinstance(timeout_ms, bool) or not isinstance(timeout_ms, (int, float)):
        raise ValueError(f"timeout_ms must be a number, got {timeout_ms!r}")
    return wish["hold"], timeout_ms, str(wish.get("who", ""))[:64]
