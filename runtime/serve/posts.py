"""Routes that take one request and give one answer: a file, a hold."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from edge_ser.errors import EdgeSerError, InputError, UsageError
from edge_ser.events import Event
from edge_ser.runtime.serve.service import Service
from edge_ser.runtime.serve.session import Session
from edge_ser.runtime.serve.upload import file_of_form, samples_of
from edge_ser.runtime.serve.vitals import Pulse
from edge_ser.runtime.serve.web import ClientDisconnect, JSONResponse, Request, Response

__all__ = ["PostRoutes"]


class PostRoutes:
    """``/v1/file`` and ``/v1/hold``."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def file(self, request: Request) -> Response:
        """An audio file in, its events out."""
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
        """Hold or release listening."""
        try:
            wish = json.loads(await request.body())
            hold, timeout_ms, who = _hold_of(wish)
            self._service.hold.set(hold, timeout_ms=timeout_ms, who=who)
        except (ValueError, UsageError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"hold": self._service.hold.state})


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
