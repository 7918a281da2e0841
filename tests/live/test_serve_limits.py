"""Clients that do not read, steps that come late, holds that nobody releases, and the end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from voices import LoudnessGate, silence, voice

pytest.importorskip("starlette", reason="needs the serve extra")
pytest.importorskip("websockets", reason="needs the serve extra")

from serving import Scripted, Served
from websockets.exceptions import ConnectionClosed

from edge_ser.events import Event
from edge_ser.runtime import Recognizer
from edge_ser.runtime import stream as stream_module
from edge_ser.runtime.hold import Hold
from edge_ser.runtime.listen import Listener
from edge_ser.runtime.live import LiveStream
from edge_ser.runtime.serve import Service, ServiceSettings
from edge_ser.runtime.serve.run import bind
from edge_ser.runtime.timing import Hooks

ROOT = Path(__file__).parents[2]


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def flood(service: Service, done: Callable[[], bool]) -> None:
    """Large events until ``done``."""
    number = 0
    while not done():
        number += 1
        service.emit(Event("error", number, "mic0", 0, detail={"reason": "x" * 20_000}))
        time.sleep(0.002)


@pytest.fixture
def impatient(recognizer: Recognizer) -> Any:
    it = Served(Service(recognizer, ServiceSettings(send_timeout_s=0.3)))
    it.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # inherited when accepted
    yield it
    it.stop()


def test_a_slow_listener_is_cut_off_and_told_why(impatient: Served) -> None:
    service = impatient.service
    with impatient.ws("/v1/events", max_queue=1) as ws:
        until(lambda: service.n_connections == 1, "the listener to be there")
        flood(service, lambda: service.bus.n_dropped == 1)
        # It reads again, and hears what was on its way, then why there is no more.
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                ws.recv(60)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
        assert "too slow" in closed.value.rcvd.reason
    until(lambda: service.n_connections == 0, "its place to be free")
    assert b"ser_clients_dropped_total 1.0" in impatient.get("/metrics")[1]


def test_a_server_sent_stream_that_nobody_reads_is_given_up(impatient: Served) -> None:
    service = impatient.service
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    raw.connect(("127.0.0.1", impatient.port))
    raw.sendall(b"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    until(lambda: service.n_connections == 1, "the reader to be there")
    flood(service, lambda: service.n_connections == 0)
    assert service.bus.n_dropped == 1
    assert service.bus.clients == set()
    raw.close()
    assert b"ser_clients_dropped_total 1.0" in impatient.get("/metrics")[1]


def test_too_many_clients_are_sent_away(recognizer: Recognizer) -> None:
    it = Served(Service(recognizer, ServiceSettings(max_connections=1)))
    with it.ws("/v1/events"):
        until(lambda: it.service.n_connections == 1, "the first")
        with it.ws("/v1/stream") as ws, pytest.raises(ConnectionClosed) as closed:
            ws.recv(60)
        assert "busy: 1 clients are connected" in str(closed.value)
        status, text = it.get("/v1/events")
        assert status == 503
        assert "--max-active-connections" in json.loads(text)["error"]
    it.stop()


def test_a_late_step_is_told_everywhere(
    recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No time at all for a step: every one is late, on any machine.
    hurried = lambda hooks, name, deadline_ns, *rest: Hooks(hooks, name, 0, *rest)  # noqa: E731
    monkeypatch.setattr(stream_module, "Hooks", hurried)
    chunks: list[Any] = []
    it = Served(Service(recognizer, open_source=lambda: Scripted(chunks, threading.Event())))
    with it.ws("/v1/events") as ws:
        until(lambda: it.service.n_connections == 1, "the listener")
        talk = np.concatenate([silence(0.3), voice(2.0)])
        chunks.extend(talk[i : i + 320] for i in range(0, len(talk), 320))
        while (event := json.loads(ws.recv(60)))["type"] != "deadline.miss":
            pass
    assert event["took_ms"] > event["deadline_ms"] == 0
    assert event["stage"] in ("capture", "resample", "gate", "frontend", "infer", "post", "publish")
    assert json.loads(it.get("/v1/state")[1])["deadline_misses"] >= 1
    with it.ws("/v1/stream") as ws:
        ws.send((voice(0.5) * 32767).astype("<i2").tobytes())
        ws.send('{"type":"end"}')
        types = [json.loads(text)["type"] for text in ws]
    # Half a second is six steps and a bit; the bit is a step of its own at the end.
    assert types.count("emotion") == 7
    assert types.count("deadline.miss") == 7
    assert types[-1] == "stream.ended"
    metrics = it.get("/metrics")[1].decode()
    counted = next(line for line in metrics.splitlines() if line.startswith("ser_deadline_misses"))
    assert float(counted.split()[1]) >= 8
    it.stop()


def test_a_hold_that_nobody_releases_ends_by_itself(recognizer: Recognizer) -> None:
    hold = Hold(cool_down_ms=1)
    chunks: list[Any] = [silence(0.1)]
    events: list[Event] = []
    live = LiveStream(recognizer, gate=LoudnessGate())
    source = partial(Scripted, chunks, threading.Event())
    listener = Listener(live, source, events.append, rate_hz=16000, hold=hold)
    hold.set(True, timeout_ms=200, who="a robot that crashed")
    thread = threading.Thread(target=listener.run)
    thread.start()
    until(lambda: "hold.start" in [e.type for e in events], "the hold")
    until(lambda: "hold.end" in [e.type for e in events], "its end")
    chunks.append(voice(1.0))
    until(lambda: "utterance.start" in [e.type for e in events], "to hear again")
    listener.stop()
    thread.join(30)
    assert hold.n_timeouts == 1


def test_a_microphone_that_is_not_there_is_waited_for_and_named(recognizer: Recognizer) -> None:
    from edge_ser.errors import InputError

    plugged = threading.Event()

    def find() -> Scripted:
        if not plugged.is_set():
            raise InputError("no microphone 'x'; there are: 'y'; 'z'")
        return Scripted([], threading.Event())

    it = Served(Service(recognizer, open_source=find))
    with it.ws("/v1/events") as ws:
        until(lambda: it.service.n_connections == 1, "the listener")
        assert it.get("/readyz")[0] == 503
        plugged.set()
        event = json.loads(ws.recv(60))
        assert (event["type"], event["source"]) == ("source.restored", "scripted")
    assert it.get("/readyz")[0] == 200
    it.stop()


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_recording_is_whole_when_the_service_is_told_to_end(
    pack_path: Path, tmp_path: Path, told: signal.Signals
) -> None:
    with bind("127.0.0.1", 0) as probe, bind("127.0.0.1", 0) as other:
        port, audio = probe.getsockname()[1], other.getsockname()[1]
    record = tmp_path / "session.ser"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(
        [sys.executable, "-m", "edge_ser", "serve", "--pack", str(pack_path), "--port", str(port),
         "--input", f"tcp-listen://127.0.0.1:{audio}", "--record", str(record)],
        env=env, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stderr is not None
    assert f"127.0.0.1:{port}" in server.stderr.readline()
    from websockets.sync.client import connect

    with connect(f"ws://127.0.0.1:{port}/v1/events") as ws:
        ws.ping().wait(60)
        with socket.create_connection(("127.0.0.1", audio), 60) as wire:
            talk = np.concatenate([silence(0.5), voice(2.0), silence(1.5)])
            wire.sendall((talk * 32767).astype("<i2").tobytes())
            while json.loads(ws.recv(60))["type"] != "utterance.end":
                pass
    server.send_signal(told)
    assert server.wait(60) == 0
    server.stderr.close()
    done = subprocess.run(
        [sys.executable, "-m", "edge_ser", "replay", str(record), "--pack", str(pack_path),
         "--json"], env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["same"] is True


def test_it_ends_at_once_and_in_good_order_while_others_listen(pack_path: Path) -> None:
    with bind("127.0.0.1", 0) as probe:
        port = probe.getsockname()[1]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(
        [sys.executable, "-m", "edge_ser", "serve", "--pack", str(pack_path), "--port", str(port),
         "--input", "none"], env=env, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stderr is not None
    assert f"127.0.0.1:{port}" in server.stderr.readline()
    sse = socket.create_connection(("127.0.0.1", port), 60)
    sse.sendall(b"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    head = b""
    while b": connected" not in head:
        head += sse.recv(1000)
    from websockets.sync.client import connect

    with connect(f"ws://127.0.0.1:{port}/v1/events") as ws:
        ws.ping().wait(60)
        server.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(60)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "the service ends")
    rest = b""
    while data := sse.recv(1000):
        rest += data
    assert rest.endswith(b"0\r\n\r\n"), "the server-sent stream is ended, not torn"
    assert server.wait(60) == 0
    said = server.stderr.read()
    server.stderr.close()
    assert said == "", "no traceback, no complaint"
