"""Who may talk to the service: host, origin and token, before any other code runs."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

__all__ = ["Guard", "is_loopback"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_OPEN_PATHS = ("/healthz", "/readyz")
_LARGEST_BODY = 64 * 1024
_PATIENCE_S = 1.0


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware that refuses with one line of why.

    A browser sends an ``Origin`` with every WebSocket and with every request of another page;
    it must be the service's own or one of ``origins``, so that no page that the user happens
    to visit can listen in. While listening on loopback the ``Host`` must be loopback too, as
    a name that an attacker points at 127.0.0.1 is not. The token is asked for everywhere but
    on the health checks.

    Args:
        app: what is guarded.
        token: None for none.
        origins: further origins that are allowed, ``https://panel.example``.
        loopback: whether the service listens on loopback only.
    """

    def __init__(
        self, app: App, *, token: str | None, origins: tuple[str, ...], loopback: bool
    ) -> None:
        self._app = app
        self._token = token
        self._origins = origins
        self._loopback = loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        status, reason = refusal
        if scope["type"] == "websocket":
            await receive()
            if "websocket.http.response" not in scope.get("extensions", {}):
                await send({"type": "websocket.close", "code": 1008, "reason": reason})
                return
            kind = "websocket.http.response"
        else:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(_take_in(receive), _PATIENCE_S)
            kind = "http.response"
        body = f'{{"error":"{reason}"}}'.encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        await send({"type": f"{kind}.start", "status": status, "headers": headers})
        await send({"type": f"{kind}.body", "body": body})

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        host = headers.get("host", "")
        if self._loopback and not is_loopback(_name(host)):
            return 403, "wrong host: this service listens on loopback only"
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins and not _is_own(origin, host):
            return 403, "wrong origin: allow it with --allow-origin"
        if self._token is None or scope["path"] in _OPEN_PATHS:
            return None
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        scheme, _, credential = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            given = credential.strip()
        if hmac.compare_digest(given.encode(), self._token.encode()):
            return None
        return 401, "wrong or missing token: send Authorization: Bearer TOKEN or ?token=TOKEN"


async def _take_in(receive: Receive) -> None:
    """The body of a request that is refused, as far as it is small.

    A connection that is closed with unread bytes in it is reset, and its client may never read
    why it was refused.
    """
    left = _LARGEST_BODY
    while left > 0:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
        left -= len(message.get("body", b""))


def _is_own(origin: str, host: str) -> bool:
    """Whether ``origin`` is a page of this service."""
    try:
        parts = urlsplit(origin)
    except ValueError:  # brackets that do not match
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _name(host: str) -> str:
    """``Host`` without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
