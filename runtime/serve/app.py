"""The routes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import edge_ser
from edge_ser.runtime.serve.guard import App, Guard
from edge_ser.runtime.serve.listeners import ListenerRoutes
from edge_ser.runtime.serve.posts import PostRoutes
from edge_ser.runtime.serve.service import Service
from edge_ser.runtime.serve.streams import StreamRoutes
from edge_ser.runtime.serve.web import (
    HTMLResponse,
    JSONResponse,
    Request,
    Response,
    Route,
    Starlette,
    WebSocketRoute,
)

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
    pages, posts = _Pages(service), PostRoutes(service)
    listeners, streams = ListenerRoutes(service), StreamRoutes(service)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.start()
        yield
        posts.files.close()
        await service.stop()

    app = Starlette(
        routes=[
            Route("/", pages.kiosk),
            Route("/healthz", pages.healthz),
            Route("/readyz", pages.readyz),
            Route("/metrics", pages.metrics),
            Route("/v1/state", pages.state),
            Route("/v1/events", listeners.server_sent),
            WebSocketRoute("/v1/events", listeners.socket),
            WebSocketRoute("/v1/stream", streams.socket),
            Route("/v1/file", posts.file, methods=["POST"]),
            Route("/v1/hold", posts.hold, methods=["POST"]),
        ],
        lifespan=lifespan,
    )
    return Guard(app, token=token, origins=origins, loopback=loopback)


class _Pages:
    def __init__(self, service: Service) -> None:
        self._service = service

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
        metrics.steps.on_source(listening)
        metrics.clients.set(service.n_connections)
        metrics.held.set(service.hold.held)
        text = await asyncio.to_thread(metrics.text)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
