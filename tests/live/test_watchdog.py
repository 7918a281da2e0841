"""What systemd is told: ready after a real step, alive while steps are made, and no longer."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from voices import silence

from edge_ser.runtime import Recognizer
from edge_ser.runtime.mic import Heard
from edge_ser.runtime.notify import notify, watchdog_s

pytest.importorskip("starlette", reason="needs the serve extra")
pytest.importorskip("websockets", reason="needs the serve extra")

from serving import Served

from edge_ser.runtime.serve import Service
from edge_ser.runtime.serve.vitals import Vitals, probe_of

LONG_S = 60.0
SILENCE_S = 2.0


class Systemd:
    """The other end of ``NOTIFY_SOCKET``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wire = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.wire.bind(str(path))

    def next(self, timeout_s: float = LONG_S) -> dict[str, str] | None:
        self.wire.settimeout(timeout_s)
        try:
            text = self.wire.recv(8192).decode()
        except TimeoutError:
            return None
        return dict(line.partition("=")[::2] for line in text.splitlines())

    def until(self, key: str, beginning: str = "") -> dict[str, str]:
        end = time.monotonic() + LONG_S
        while time.monotonic() < end:
            said = self.next()
            if said is not None and said.get(key, "\0").startswith(beginning):
                return said
        raise AssertionError(f"never told {key}={beginning}")

    def pings_within(self, seconds: float) -> int:
        """How often the watchdog is fed from now on."""
        end, n = time.monotonic() + seconds, 0
        while (left := end - time.monotonic()) > 0:
            said = self.next(left)
            n += said is not None and "WATCHDOG" in said
        return n


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    it = Systemd(tmp_path / "notify")
    yield it
    it.wire.close()


@pytest.fixture
def watched(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    monkeypatch.setenv("NOTIFY_SOCKET", str(systemd.path))
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    return systemd


class Blocking:
    """A microphone that hangs when told to."""

    name = "blocking"

    def __init__(self) -> None:
        self.flows = threading.Event()
        self.flows.set()

    def read(self) -> Heard:
        self.flows.wait()
        time.sleep(0.01)
        return Heard(silence(0.01), 0, time.perf_counter_ns())

    def close(self) -> None:
        self.flows.set()


def test_the_real_service_from_start_to_stop(systemd: Systemd, pack_path: Path) -> None:
    environment = os.environ | {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "1000000"}
    environment.pop("WATCHDOG_PID", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_ser", "serve", "--input", "none", "--port", "0",
         "--pack", str(pack_path)],
        env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert systemd.until("READY")["STATUS"] == "random@1, for streams of clients"
        systemd.until("WATCHDOG", "1")
        systemd.until("WATCHDOG", "1")
        os.kill(process.pid, signal.SIGSTOP)  # as hung as can be
        systemd.pings_within(0.2)
        assert systemd.pings_within(SILENCE_S) == 0
        os.kill(process.pid, signal.SIGCONT)
        systemd.until("WATCHDOG", "1")
        process.terminate()
        systemd.until("STOPPING", "1")
        assert process.wait(LONG_S) == 0, process.stderr.read() if process.stderr else ""
    finally:
        process.kill()
        process.communicate()


def test_a_microphone_that_hangs_stops_feeding(watched: Systemd, recognizer: Recognizer) -> None:
    source = Blocking()
    it = Served(Service(recognizer, open_source=lambda: source))
    try:
        while watched.until("WATCHDOG", "1")["STATUS"] != "random@1, hears blocking":
            pass  # the microphone is still being opened
        assert watched.pings_within(SILENCE_S) > 0
        source.flows.clear()
        watched.until("STATUS", "the microphone made no step for")
        assert watched.pings_within(SILENCE_S) == 0
        source.flows.set()
        watched.until("WATCHDOG", "1")
    finally:
        source.flows.set()
        it.stop()


def test_a_microphone_that_is_not_there_is_waited_for_and_no_hang(
    watched: Systemd, recognizer: Recognizer
) -> None:
    from edge_ser.errors import InputError

    def none() -> Any:
        raise InputError("no microphone")

    it = Served(Service(recognizer, open_source=none))
    try:
        watched.until("STATUS", "random@1, waiting for the microphone")
        assert watched.pings_within(SILENCE_S) > 0
    finally:
        it.stop()


class Hanging:
    """An engine whose steps hang from some moment on."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.backend, self.precision = engine.backend, engine.precision
        self.flows = threading.Event()
        self.flows.set()
        self.hangs: list[Any] = []

    def stream(self) -> Any:
        stream, outer = self._engine.stream(), self

        class Slow:
            mel = stream.mel
            reset = staticmethod(stream.reset)

            def step(self) -> np.ndarray:
                if self in outer.hangs or not outer.flows.is_set():
                    outer.flows.wait()
                return stream.step()

        made = Slow()
        self.last = made
        return made


def test_a_client_whose_model_hangs_stops_feeding(watched: Systemd, recognizer: Recognizer) -> None:
    engine = Hanging(recognizer.engine)
    it = Served(Service(Recognizer(recognizer.pack, engine)))
    try:
        with it.ws("/v1/stream") as client:
            client.send(np.zeros(16000, "<i2").tobytes())
            client.recv()
            assert watched.pings_within(SILENCE_S) > 0
            engine.flows.clear()
            engine.hangs.append(engine.last)
            client.send(np.zeros(16000, "<i2").tobytes())
            # Either the client's stream or the probe is found hanging first.
            watched.pings_within(SILENCE_S)
            assert watched.pings_within(SILENCE_S) == 0
            engine.flows.set()
            engine.hangs.clear()
            watched.until("WATCHDOG", "1")
    finally:
        engine.flows.set()
        it.stop()


def test_only_what_is_at_work_must_give_signs() -> None:
    now = [0.0]
    vitals = Vitals(lambda: now[0])
    with vitals.watching("client 1") as pulse:
        now[0] = 100.0
        assert vitals.stuck(5.0) is None  # it sends nothing, so there is nothing to do
        with pulse.working():
            now[0] = 104.0
            assert vitals.stuck(5.0) is None
            now[0] = 106.0
            assert vitals.stuck(5.0) == "client 1 made no step for 6.0 s"
            pulse.on_step(None)  # type: ignore[arg-type]
            assert vitals.stuck(5.0) is None
            now[0] = 120.0
        assert vitals.stuck(5.0) is None
    microphone = vitals.add("the microphone", always=True)
    now[0] = 130.0
    assert vitals.stuck(5.0) == "the microphone made no step for 10.0 s"
    vitals.remove(microphone)
    assert vitals.stuck(5.0) is None


def test_the_probe_makes_a_step_and_leaves_no_trace(recognizer: Recognizer) -> None:
    steps = []

    class Counted:
        backend = precision = "x"

        def stream(self) -> Any:
            stream = recognizer.engine.stream()
            real = stream.step
            stream.step = lambda: steps.append(real().copy()) or steps[-1]  # type: ignore[method-assign]
            return stream

    probe = probe_of(Counted())  # type: ignore[arg-type]
    for _ in range(3):
        probe()
    assert len(steps) == 3
    np.testing.assert_array_equal(steps[0], steps[2])


def test_who_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not notify("READY=1")
    name = f"\0edge-ser-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.bind(name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name[1:])
        assert notify("READY=1", "STATUS=fine")
        assert wire.recv(100) == b"READY=1\nSTATUS=fine"
    for usec, pid, expected in (
        ("2000000", "", 2.0), ("2000000", str(os.getpid()), 2.0), ("2000000", "1", None),
        ("", "", None), ("0", "", None), ("soon", "", None),
    ):  # fmt: skip
        monkeypatch.setenv("WATCHDOG_USEC", usec)
        monkeypatch.setenv("WATCHDOG_PID", pid)
        assert watchdog_s() == expected
