"""What the routes take from starlette, in one place, so that a missing extra is named once."""

from __future__ import annotations

from edge_ser.errors import MissingExtra

try:
    from starlette.applications import Starlette
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
    from starlette.routing import Route, WebSocketRoute
    from starlette.types import Message, Send
    from starlette.websockets import WebSocket, WebSocketDisconnect
except ImportError:
    raise MissingExtra("starlette", "serve", "serve over HTTP") from None

__all__ = [
    "ClientDisconnect",
    "HTMLResponse",
    "JSONResponse",
    "Message",
    "Request",
    "Response",
    "Route",
    "Send",
    "Starlette",
    "StreamingResponse",
    "WebSocket",
    "WebSocketDisconnect",
    "WebSocketRoute",
]
