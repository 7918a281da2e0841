"""Routes that take one request and give one answer: a file, a hold."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from edge_ser.errors import EdgeSerError, InputError, UsageError
from edge_ser.runtime.serve.files import Busy, Files, TooLong
from edge_ser.runtime.serve.service import Service
from edge_ser.runtime.serve.web import ClientDisconnect, JSONResponse, Request, Response

__all__ = ["PostRoutes"]

_LARGEST_HOLD = 2**16
_LEAST_BYTES_S = 1000  # of a body; compressed speech is as long as it is heard


class Stalled(InputError):
    """A body that does not come to its end."""


class PostRoutes:
    """``/v1/file`` and ``/v1/hold``."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.files = Files(service)

    async def file(self, request: Request) -> Response:
        """An audio file in, its events out."""
        try:
            with self.files.place():
                body = await self._body(
                    request, self._service.settings.max_upload_bytes, " (--max-upload-mb)"
                )
                texts = await self.files.recognize(
                    request.headers.get("content-type", ""),
                    body,
                    request.query_params.get("gate") == "1",
                )
        except (ClientDisconnect, EdgeSerError) as error:
            return _refusal(error)
        if "application/x-ndjson" in request.headers.get("accept", ""):
            lines = "".join(f"{text}\n" for text in texts)
            return Response(lines, media_type="application/x-ndjson")
        return Response(f'{{"events":[{",".join(texts)}]}}', media_type="application/json")

    async def _body(self, request: Request, limit: int, how: str = "") -> bytearray:
        """The body of ``request``.

        Raises:
            TooLong: it is larger than ``limit`` bytes.
            Stalled: nothing of it came for a while, or it comes too slowly.
            ClientDisconnect: its sender went away.
        """
        body, chunks = bytearray(), aiter(request.stream())
        patience_s = self._service.settings.receive_timeout_s
        began = time.monotonic()
        while True:
            try:
                body += await asyncio.wait_for(anext(chunks), patience_s)
            except StopAsyncIteration:
                return body
            except asyncio.TimeoutError:
                raise Stalled(f"nothing of the body came for {patience_s:g} s") from None
            if len(body) > limit:
                raise TooLong(f"the upload is larger than {limit} bytes{how}")
            # Drop by drop, a few senders would keep everybody else out.
            if time.monotonic() - began > patience_s + len(body) / _LEAST_BYTES_S:
                raise Stalled(f"the body comes at less than {_LEAST_BYTES_S} bytes a second")

    async def hold(self, request: Request) -> Response:
        """Hold or release listening."""
        try:
            wish = json.loads(await self._body(request, _LARGEST_HOLD))
            hold, timeout_ms, who = _hold_of(wish)
            self._service.hold.set(hold, timeout_ms=timeout_ms, who=who)
        except (ClientDisconnect, EdgeSerError, RecursionError, ValueError) as error:
            return _refusal(error)
        return JSONResponse({"hold": self._service.hold.state})


def _refusal(error: Exception) -> Response:
    """What ``error`` is in HTTP; bad input where nothing else is said."""
    kinds = {ClientDisconnect: 400, TooLong: 413, Stalled: 408, Busy: 503}
    bad_input = (InputError, UsageError, RecursionError, ValueError)
    status = kinds.get(type(error), 400 if isinstance(error, bad_input) else 422)
    return JSONResponse({"error": str(error)}, status)


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
