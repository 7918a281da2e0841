from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from voices import LoudnessGate, silence, voice

from edge_ser.cli import main
from edge_ser.errors import InputError, UsageError
from edge_ser.events import Event
from edge_ser.runtime import Recognizer
from edge_ser.runtime import tcp as tcp_module
from edge_ser.runtime.listen import Listener
from edge_ser.runtime.live import LiveStream
from edge_ser.runtime.live_source import SourceGone, is_live, opener
from edge_ser.runtime.tcp import Address, TcpListen, TcpSource


def pcm16(samples: np.ndarray) -> bytes:
    return (samples * 32767).astype("<i2").tobytes()


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def address(listening: socket.socket, more: str = "") -> str:
    return f"tcp://127.0.0.1:{listening.getsockname()[1]}{more}"


def read_all(source: TcpSource) -> np.ndarray:
    parts = []
    with pytest.raises(SourceGone, match="the sender closed the connection"):
        while True:
            parts.append(source.read().samples)
    return np.concatenate(parts)


def test_samples_arrive_whole_however_they_are_cut(sender: socket.socket) -> None:
    data = pcm16(voice(0.2))
    source = TcpSource.connect(Address.parse(address(sender)), 16000)
    wire, _ = sender.accept()
    for start in range(0, len(data), 333):  # cuts samples in halves
        wire.sendall(data[start : start + 333])
    wire.close()
    wanted = np.frombuffer(data, "<i2").astype(np.float32) / 32768
    np.testing.assert_array_equal(read_all(source), wanted)
    source.close()


def test_another_rate_is_resampled(sender: socket.socket) -> None:
    source = TcpSource.connect(Address.parse(address(sender, "?rate=48000")), 16000)
    wire, _ = sender.accept()
    wire.sendall(bytes(2 * 48000))
    wire.close()
    assert len(read_all(source)) == pytest.approx(16000, abs=30)
    source.close()


def test_nothing_yet_is_no_loss_but_long_silence_is(
    sender: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp_module, "_WAIT_S", 0.01)
    source = TcpSource.connect(Address.parse(address(sender)), 16000)
    assert len(source.read().samples) == 0
    monkeypatch.setattr(tcp_module, "_SILENT_S", 0.0)
    with pytest.raises(SourceGone, match="no samples for 0 s"):
        source.read()
    source.close()


def test_nobody_there_is_said_so(sender: socket.socket) -> None:
    where = address(sender)
    sender.close()
    with pytest.raises(InputError, match=r"nobody gives samples there \(Connection refused\)"):
        opener(where, 16000)()


@pytest.mark.parametrize(
    "where",
    [
        "tcp://",
        "tcp://host",
        "tcp://host:99999",
        "tcp://h:1/x",
        "tcp://h:1?rat=3",
        "tcp://h:0",
        "tcp://[::1",
    ],
)
def test_addresses_that_make_no_sense(where: str) -> None:
    with pytest.raises(UsageError, match=r"write it as tcp://HOST:PORT\[\?rate=HZ\]"):
        opener(where, 16000)


@pytest.mark.parametrize("rate", ["fast", "0", "-1", "", "1000000", "9" * 5000])
def test_rates_that_make_no_sense(rate: str) -> None:
    with pytest.raises(UsageError, match="rate is a number of Hz"):
        opener(f"tcp://h:1?rate={rate}", 16000)
    if rate:
        with pytest.raises(UsageError, match="rate is a number of Hz"):
            opener(f"ros:/audio?rate={rate}", 16000)


def test_what_is_a_live_source() -> None:
    live = ("mic", "mic:USB", "tcp://h:1", "tcp-listen://h:1", "ros:/audio")
    assert all(is_live(where) for where in live)
    assert not any(is_live(where) for where in ("demo", "-", "a.wav", "micro.wav", "tcp.wav"))
    with pytest.raises(UsageError, match="--input a.wav: mic, mic:NAME"):
        opener("a.wav", 16000)


def test_a_taken_port_is_said_so(sender: socket.socket, capsys: pytest.CaptureFixture[str]) -> None:
    where = address(sender).replace("tcp:", "tcp-listen:")
    with pytest.raises(InputError, match=r"cannot listen there \(Address already in use\)"):
        opener(where, 16000)
    assert main(["serve", "--port", "0", "--input", where]) == 2
    assert "cannot listen there" in capsys.readouterr().err


def test_one_sender_after_the_other_is_heard(recognizer: Recognizer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    listening = TcpListen(Address.parse(f"tcp-listen://127.0.0.1:{port}"), 16000)
    live = LiveStream(recognizer, gate=LoudnessGate())
    events: list[Event] = []
    heard = threading.Condition()

    def take(event: Event) -> None:
        with heard:
            events.append(event)
            heard.notify_all()

    listener = Listener(live, listening.accept, take, rate_hz=16000)
    thread = threading.Thread(target=listener.run)
    thread.start()
    data = pcm16(np.concatenate([voice(1.0), silence(1.0)]))
    for number in (1, 2):
        with socket.create_connection(("127.0.0.1", port)) as wire:
            wire.sendall(data)
        with heard:
            assert heard.wait_for(
                lambda: sum(e.type == "utterance.end" for e in events) == number,  # noqa: B023
                60,
            )
    listener.stop()
    thread.join(30)
    assert not thread.is_alive()
    types = [e.type for e in events]
    lost = [e.detail["reason"] for e in events if e.type == "source.lost"]
    assert any("the sender closed the connection" in reason for reason in lost)
    assert types.count("source.restored") >= 1
    with pytest.raises(InputError, match="nobody has connected yet"):
        listening.accept()
    assert [e.seq for e in events] == list(range(1, len(events) + 1))
