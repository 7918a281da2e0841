"""A service in this process, and a source that plays what a test puts in."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from typing import Any

import numpy as np
from websockets.sync.client import connect

from edge_ser.runtime.live_source import Heard
from edge_ser.runtime.serve import Service
from edge_ser.runtime.serve.run import bind, make_server


class Served:
    """A service in a thread of this process."""

    def __init__(self, service: Service, **how: Any) -> None:
        self.service = service
        self.socket = bind("127.0.0.1", 0)
        self.port = self.socket.getsockname()[1]
        how.setdefault("token", None)
        how.setdefault("loopback", True)
        self.server = make_server(service, **how)
        self.thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True
        )
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        self.socket.close()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def ws(self, path: str, **how: Any) -> Any:
        return connect(f"ws://127.0.0.1:{self.port}{path}", **how)

    def get(self, path: str, data: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        request = urllib.request.Request(self.url(path), data, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


class Scripted:
    """A source that plays what a test puts in, as a microphone would."""

    name = "scripted"

    def __init__(self, chunks: list[Any], again: threading.Event) -> None:
        self._chunks, self._again = chunks, again

    def read(self) -> Heard:
        if not self._chunks:
            self._again.wait(0.05)
            return Heard(np.empty(0, np.float32), 0, time.perf_counter_ns())
        chunk = self._chunks.pop(0)
        if isinstance(chunk, Exception):
            raise chunk
        lost = 0
        if isinstance(chunk, tuple):
            chunk, lost = chunk
        return Heard(chunk, lost, time.perf_counter_ns())

    def close(self) -> None:
        pass
