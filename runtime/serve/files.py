"""Uploaded audio files to events, a few at a time and beside everything else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

from edge_ser.errors import EdgeSerError, InputError
from edge_ser.events import Event
from edge_ser.runtime.serve.service import Service
from edge_ser.runtime.serve.session import Session
from edge_ser.runtime.serve.upload import file_of_form, samples_of
from edge_ser.runtime.serve.vitals import Pulse

__all__ = ["Busy", "Files", "TooLong"]

_AT_A_TIME = 2


class TooLong(InputError):
    """A file of more audio than is taken."""


class Busy(EdgeSerError):
    """Not now."""


class Files:
    """Recognizes whole files in threads of their own.

    Streams and the watchdog share the loop's threads; long files there would make them wait.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._pool = ThreadPoolExecutor(_AT_A_TIME, "edge-ser-file")
        self._n_files = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for one upload, from its first byte to its last event.

        Raises:
            Busy: all are taken.
        """
        if (busy := self._service.busy) is not None:
            raise Busy(busy)
        limit = self._service.settings.max_uploads
        if self._n_files >= limit:
            raise Busy(f"busy: {limit} files are being read; try again in a while")
        self._n_files += 1
        try:
            with self._service.connected():
                yield
        finally:
            self._n_files -= 1

    async def recognize(self, content_type: str, body: bytearray, gated: bool) -> list[str]:
        """The events of the file in ``body``, each as JSON.

        Raises:
            InputError: it is no audio, or :class:`TooLong`.
            Busy: the service ends.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._recognize, content_type, body, gated)

    def close(self) -> None:
        """Take no more files; the ones at work end with their second of audio."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _recognize(self, content_type: str, body: bytearray, gated: bool) -> list[str]:
        content: bytearray | memoryview = body
        if content_type.startswith("multipart/form-data"):
            content = file_of_form(content_type, body)
        with self._service.vitals.watching("a file") as pulse:
            return self._heard_in(content, gated, pulse)

    def _heard_in(self, content: bytearray | memoryview, gated: bool, pulse: Pulse) -> list[str]:
        service, settings = self._service, self._service.settings
        session = Session(
            service.recognizer,
            "file",
            gated=gated,
            hooks=(service.metrics.steps, pulse),
            utterances=settings.utterances,
            smoothing=settings.smoothing,
        )
        rate_hz, n_samples = service.recognizer.rate_hz, 0
        texts = self._told([session.started()])
        with closing(session):
            for samples in samples_of(content, rate_hz):
                n_samples += len(samples)
                if n_samples > settings.max_upload_s * rate_hz:
                    raise TooLong(
                        f"the upload holds more than {settings.max_upload_s / 60:g} minutes of "
                        "audio (--max-upload-minutes); send it in parts"
                    )
                if service.ending:
                    raise Busy("the service ends")
                with pulse.working():
                    events = session.push_samples(samples)
                texts += self._told(events)
            return texts + self._told(session.finish())

    def _told(self, events: list[Event]) -> list[str]:
        """Counted, and as JSON at once, which takes a fraction of their memory."""
        for event in events:
            self._service.metrics.count(event)
        return [event.to_json() for event in events]
