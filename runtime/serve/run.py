"""Binds the port and serves until told to stop."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edge_ser.errors import InputError, MissingExtra, UsageError
from edge_ser.runtime.notify import notify
from edge_ser.runtime.serve.guard import is_loopback
from edge_ser.runtime.serve.service import Service

if TYPE_CHECKING:
    import uvicorn

__all__ = ["bind", "choose_token", "make_server", "run"]


_BACKLOG = 128


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        InputError: the port is taken, or the address is not this machine's.
        UsageError: there is no such port.
    """
    if not 0 <= port <= 65535:  # getaddrinfo would take the remainder
        raise UsageError(f"--port {port}: a number from 0 (any that is free) to 65535, please")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
    except OSError as error:
        raise InputError(f"--host {host}: {error.strerror or error}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        hint = "another program listens there; choose another --port"
        raise InputError(
            f"cannot listen on {host}:{port} ({error.strerror}); "
            + (hint if error.errno == 98 else "is this an address of this machine?")
        ) from error
    return listening


def choose_token(token: str | None, host: str) -> str | None:
    """The token to ask for: the given one, and never none beyond loopback.

    Raises:
        UsageError: the given one is too short to be safe.
    """
    token = token if token is not None else os.environ.get("EDGE_SER_TOKEN")
    if token is None:
        return None if is_loopback(host) else secrets.token_urlsafe(18)
    if len(token) < 8:
        raise UsageError("--token: at least 8 characters, please; or leave it out to get one made")
    return token


def make_server(
    service: Service, on_ready: Callable[[], None] = lambda: None, **guarded: Any
) -> uvicorn.Server:
    """The server of ``service``, not running yet.

    Args:
        on_ready: called when it serves.
        guarded: ``token``, ``origins`` and ``loopback`` as
            :func:`~edge_ser.runtime.serve.app.build_app` takes them.

    Raises:
        MissingExtra: the ``serve`` extra is not installed.
    """
    try:
        import uvicorn
        import websockets  # noqa: F401
    except ImportError as error:
        raise MissingExtra(error.name or "uvicorn", "serve", "serve over HTTP") from None
    from edge_ser.runtime.serve.app import build_app
    from edge_ser.runtime.serve.connections import bounded_protocol, most_connections

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                on_ready()
                notify("READY=1", f"STATUS={service.status}")

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            notify("STOPPING=1")
            # Listeners would wait for events, and the server for them.
            await service.dismiss()
            await super().shutdown(sockets)

    return Server(
        uvicorn.Config(
            build_app(service, **guarded),
            log_level="warning",
            access_log=False,
            lifespan="on",
            http=bounded_protocol(
                most_connections(service.settings.max_connections),
                service.settings.receive_timeout_s,
            ),
            backlog=_BACKLOG,
            ws="websockets-sansio",
            ws_max_size=service.settings.max_message_bytes,
            ws_per_message_deflate=False,  # costs more time than it saves on one machine
            ws_ping_interval=20.0,
            timeout_graceful_shutdown=3,
            server_header=False,
        )
    )


def run(
    service: Service,
    listening: socket.socket,
    on_ready: Callable[[], None] = lambda: None,
    **guarded: Any,
) -> None:
    """Serve until SIGINT or SIGTERM, in the main thread.

    Args:
        on_ready: called when the model has made a step and the microphone is being opened.
        guarded: as :func:`make_server` takes them.
    """
    server = make_server(service, on_ready, **guarded)
    # Once it has shut down, uvicorn raises the signal again that told it to. By default that
    # would end the process before recordings are completed and brokers told.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        server.run(sockets=[listening])
    finally:
        sys.stderr.flush()
