from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from serving import Scripted, Served
from voices import LoudnessGate, silence, voice

from edge_ser.runtime import Recognizer

pytest.importorskip("starlette", reason="needs the serve extra")
pytest.importorskip("websockets", reason="needs the serve extra")

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from edge_ser.cli import main
from edge_ser.runtime.listen import Listener
from edge_ser.runtime.live import LiveStream
from edge_ser.runtime.live_source import SourceGone
from edge_ser.runtime.serve import Bus, Service, ServiceSettings
from edge_ser.runtime.serve.run import bind


@pytest.fixture
def served(recognizer: Recognizer) -> Iterator[Served]:
    settings = ServiceSettings(
        max_message_bytes=100_000, max_upload_bytes=1 << 20, send_timeout_s=120
    )
    it = Served(Service(recognizer, settings))
    yield it
    it.stop()


def pcm16(samples: np.ndarray) -> bytes:
    return (samples * 32767).astype("<i2").tobytes()


def wav(samples: np.ndarray) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(pcm16(samples))
    return out.getvalue()


def in_time(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what a busy machine adds."""
    return [e for e in events if e["type"] != "deadline.miss"]


def stripped(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    clocks = ("t_mono_ns", "latency_ms", "stream_id", "seq")  # a late step takes a number
    return [{k: v for k, v in e.items() if k not in clocks} for e in in_time(events)]


@pytest.mark.parametrize("size", [1, 999, 64000])
def test_a_stream_gives_the_events_of_the_library(
    served: Served, recognizer: Recognizer, size: int
) -> None:
    data = pcm16(voice(0.5))
    got = []
    with served.ws("/v1/stream") as ws:
        for start in range(0, len(data), size):
            ws.send(data[start : start + size])
        ws.send('{"type":"end"}')
        got = [json.loads(text) for text in ws]
        assert ws.close_code == 1000
    stream = recognizer.stream("x")
    wanted = [stream.notice("stream.started", rate_hz=16000, gated=False)]
    wanted += stream.push(np.frombuffer(data, "<i2"))
    final = stream.finish()
    assert final is not None
    wanted += [final, stream.notice("stream.ended", audio_end_ms=final.audio_end_ms)]
    assert stripped(got) == stripped([e.to_dict() for e in wanted])


def test_a_gated_stream_frames_its_utterances(served: Served) -> None:
    data = pcm16(np.concatenate([silence(0.6), voice(1.5), silence(1.2)]))
    with served.ws("/v1/stream?gate=1&every=3&stream_id=robot") as ws:
        for start in range(0, len(data), 3200):
            ws.send(data[start : start + 3200])
        ws.send('{"type":"end"}')
        got = [json.loads(text) for text in ws]
    assert {e["stream_id"] for e in got} == {"robot"}
    types = [e["type"] for e in in_time(got) if e["type"] not in ("emotion", "state.change")]
    assert types == ["stream.started", "utterance.start", "utterance.end", "stream.ended"]
    assert sum(e["type"] == "emotion" and e["final"] for e in got) == 1


def test_an_upload_as_body_and_as_form(served: Served) -> None:
    content = wav(voice(1.0))
    status, text = served.get("/v1/file", content)
    assert status == 200
    events = in_time(json.loads(text)["events"])
    assert [e["type"] for e in events][0 :: len(events) - 1] == ["stream.started", "stream.ended"]
    assert events[-2]["final"] is True
    form = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    form += content + b"\r\n--B--\r\n"
    status, again = served.get(
        "/v1/file", form, **{"Content-Type": "multipart/form-data; boundary=B"}
    )
    assert status == 200
    assert stripped(json.loads(again)["events"]) == stripped(events)
    status, lines = served.get("/v1/file", content, Accept="application/x-ndjson")
    assert len(in_time([json.loads(line) for line in lines.splitlines()])) == len(events)


def test_bad_uploads_are_refused_in_a_line(served: Served) -> None:
    status, text = served.get("/v1/file", b"this is no audio")
    assert status == 400
    assert "the upload: cannot be read as audio" in json.loads(text)["error"]
    assert served.get("/v1/file", b"")[0] == 400
    status, text = served.get("/v1/file", bytes(2 << 20))
    assert status == 413
    assert "--max-upload-mb" in json.loads(text)["error"]


def test_a_malformed_frame_gets_an_error_event_and_the_door(served: Served) -> None:
    with served.ws("/v1/stream") as ws:
        ws.recv()
        ws.send('{"type":"stop"}')
        event = json.loads(ws.recv())
        assert (event["type"], event["code"]) == ("error", "invalid_audio_frame")
        with pytest.raises(ConnectionClosed):
            ws.recv()
        assert ws.close_code == 1007
    with served.ws("/v1/stream") as ws:
        ws.recv()
        ws.send(b"\x00" * 3)
        ws.send('{"type":"end"}')
        assert "middle of a 16-bit sample" in json.loads(ws.recv())["reason"]
    with served.ws("/v1/stream?gates=1") as ws, pytest.raises(ConnectionClosed) as closed:
        ws.recv()
    assert "unknown parameter 'gates'" in str(closed.value)


def test_an_oversized_frame_ends_only_its_own_connection(served: Served) -> None:
    with served.ws("/v1/stream") as ws:
        ws.recv()
        ws.send(bytes(200_000))
        with pytest.raises(ConnectionClosed):
            ws.recv()
        assert ws.close_code == 1009
    assert served.get("/healthz")[0] == 200


def test_another_page_may_not_listen_in(served: Served) -> None:
    with pytest.raises(InvalidStatus) as refused:
        served.ws("/v1/events", origin="http://evil.example")
    assert refused.value.response.status_code == 403
    status, _ = served.get("/v1/hold", b'{"hold":true}', Origin="http://evil.example")
    assert status == 403
    own = f"http://127.0.0.1:{served.port}"
    with served.ws("/v1/events", origin=own):
        pass
    # A name of the attacker's that points at 127.0.0.1 is still not this machine's name.
    assert served.get("/v1/state", Host="evil.example")[0] == 403


def test_why_it_was_refused_can_be_read_behind_a_body(served: Served) -> None:
    """Closed with unread bytes in it the connection would be reset, now and then."""
    body = b'{"hold":true}' + b" " * 60_000
    for _ in range(30):
        status, told = served.get("/v1/hold", body, Origin="http://evil.example")
        assert status == 403
        assert b"wrong origin" in told


def test_the_token_is_asked_for(recognizer: Recognizer) -> None:
    it = Served(Service(recognizer), token="correct horse", loopback=False)
    try:
        assert it.get("/healthz")[0] == 200
        assert it.get("/v1/state")[0] == 401
        assert it.get("/v1/state?token=wrong")[0] == 401
        assert it.get("/v1/state", Authorization="Bearer correct horse")[0] == 200
        assert it.get("/?token=correct%20horse")[0] == 200
        with pytest.raises(InvalidStatus) as refused:
            it.ws("/v1/stream")
        assert refused.value.response.status_code == 401
    finally:
        it.stop()


def test_hold_over_http(served: Served) -> None:
    status, text = served.get("/v1/hold", b'{"hold":true,"timeout_ms":60000}')
    assert (status, json.loads(text)) == (200, {"hold": "held"})
    assert served.service.hold.held
    assert json.loads(served.get("/v1/hold", b'{"hold":false}')[1]) == {"hold": "cool_down"}
    for bad in (
        b"",
        b"[]",
        b'{"hold":1}',
        b'{"hold":true,"timeout_ms":-1}',
        b'{"hold":true,"x":1}',
    ):
        assert served.get("/v1/hold", bad)[0] == 400


def test_losing_and_overflowing_is_told(recognizer: Recognizer) -> None:
    chunks: list[Any] = [voice(1.0), (voice(0.2), 1600), SourceGone("unplugged"), silence(0.1)]
    events = []
    live = LiveStream(recognizer, gate=LoudnessGate())
    listener = Listener(live, lambda: Scripted(chunks, threading.Event()), events.append,
                        rate_hz=16000)  # fmt: skip
    thread = threading.Thread(target=listener.run)
    thread.start()
    while chunks:
        time.sleep(0.01)
    listener.stop()
    thread.join(10)
    types = [e.type for e in events if e.type not in ("emotion", "state.change")]
    assert types == ["stream.started", "utterance.start", "utterance.end", "audio.gap",
                     "source.lost", "source.restored", "audio.gap", "stream.ended"]  # fmt: skip
    gap = next(e for e in events if e.type == "audio.gap")
    assert gap.detail["missing_ms"] == 100
    assert next(e for e in events if e.type == "source.lost").detail["reason"] == "unplugged"
    assert [e.seq for e in events] == list(range(1, len(events) + 1))


def test_many_listeners_hear_every_event(recognizer: Recognizer) -> None:
    chunks: list[Any] = []
    again = threading.Event()
    service = Service(recognizer, open_source=lambda: Scripted(chunks, again))
    it = Served(service)
    heard: list[list[dict[str, Any]]] = [[] for _ in range(50)]
    joined = threading.Barrier(51)

    def listen(mine: list[dict[str, Any]]) -> None:
        with it.ws("/v1/events") as ws:
            ws.ping().wait(20)
            joined.wait(60)
            with contextlib.suppress(ConnectionClosed):  # 1012 when the service ends
                for text in ws:
                    mine.append(json.loads(text))

    threads = [threading.Thread(target=listen, args=(mine,)) for mine in heard]
    for thread in threads:
        thread.start()
    joined.wait(60)
    talk = np.concatenate([voice(2.0), silence(1.0)])
    chunks.extend(talk[i : i + 160] for i in range(0, len(talk), 160))
    patience = time.monotonic() + 60
    while not all("utterance.end" in [event["type"] for event in mine] for mine in heard):
        assert time.monotonic() < patience, [len(mine) for mine in heard]
        time.sleep(0.02)
    it.stop()
    for thread in threads:
        thread.join(20)
    assert len(heard[0]) > 15  # about a step every 80 ms of two seconds
    assert all(mine == heard[0] for mine in heard)
    numbers = [event["seq"] for event in heard[0]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert service.bus.n_dropped == 0


def test_a_listener_that_never_reads_is_cut_off_and_others_are_not() -> None:
    async def scene() -> None:
        bus = Bus(limit=8)
        deaf, keen = bus.join(), bus.join()
        got = []
        for number in range(20):
            bus.publish(str(number))
            got.append(await keen.next())
        assert got == [str(number) for number in range(20)]
        assert deaf.dropped == "too slow: 8 events were waiting"
        assert await deaf.next() is None
        assert bus.clients == {keen}
        assert bus.n_dropped == 1

    asyncio.run(scene())


def test_a_client_that_streams_but_never_reads_is_cut_off(recognizer: Recognizer) -> None:
    settings = ServiceSettings(send_timeout_s=0.3, max_message_bytes=4 << 20)
    it = Served(Service(recognizer, settings))
    it.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # inherited when accepted
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    raw.connect(("127.0.0.1", it.port))
    raw.sendall(
        b"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    raw.recv(300)
    payload = bytes(2 * 16000)
    frame = b"\x82\xff" + len(payload).to_bytes(8, "big") + bytes(4) + payload

    def pour() -> None:
        with contextlib.suppress(OSError):
            while it.service.bus.n_dropped == 0:
                raw.sendall(frame)

    pouring = threading.Thread(target=pour, daemon=True)
    pouring.start()
    deadline = time.monotonic() + 100
    while it.service.bus.n_dropped == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert it.service.bus.n_dropped == 1
    assert it.get("/healthz")[0] == 200
    raw.close()
    it.stop()


def test_metrics_and_health(served: Served) -> None:
    with served.ws("/v1/stream") as ws:
        ws.send(pcm16(voice(0.5)))
        ws.send('{"type":"end"}')
        list(ws)
    text = served.get("/metrics")[1].decode()
    assert "ser_frames_total 7.0" in text
    assert 'ser_stage_duration_seconds_count{stage="infer"} 7.0' in text
    names = {line.split("{")[0].split()[0] for line in text.splitlines() if line[:1] != "#"}
    assert names
    assert all(name.startswith("ser_") for name in names)
    assert json.loads(served.get("/readyz")[1]) == {"ready": True, "detail": "ready"}


def test_a_service_whose_microphone_is_gone_is_alive_but_not_ready(recognizer: Recognizer) -> None:
    from edge_ser.errors import InputError

    def nothing() -> Scripted:
        raise InputError("no microphone 'x'; there are: 'y'")

    it = Served(Service(recognizer, open_source=nothing))
    status, text = it.get("/readyz")
    assert (status, json.loads(text)["detail"]) == (503, "the microphone is not there")
    assert it.get("/healthz")[0] == 200
    it.stop()
    it = Served(Service(recognizer, open_source=nothing, needs_source=False))
    status, text = it.get("/readyz")
    assert (status, json.loads(text)["ready"]) == (200, True), "it serves streams all the same"
    it.stop()


def test_the_page_needs_nothing_from_elsewhere(served: Served) -> None:
    status, page = served.get("/")
    assert status == 200
    text = page.decode()
    for word in ("http://", "https://", "<link", " src=", "@import", "url("):
        assert word not in text, word


def test_a_taken_port_is_said_so(pack_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with bind("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        status = main(["serve", "--pack", str(pack_path), "--port", port, "--input", "none"])
    assert status == 2
    assert f"127.0.0.1:{port} (Address already in use); another program" in capsys.readouterr().err
    assert main(["serve", "--port", "65537", "--input", "none", "--pack", str(pack_path)]) == 2
    assert "--port 65537: a number from 0" in capsys.readouterr().err


def test_only_the_asked_for_socket_is_opened_and_no_audio_written(
    pack_path: Path, tmp_path: Path
) -> None:
    port = bind("127.0.0.1", 0)
    number = port.getsockname()[1]
    port.close()
    log = tmp_path / "audit.log"
    # Python's own audit events see every bind, connect and file that is opened for writing.
    script = f"""
import sys
log = open({str(log)!r}, "w", buffering=1)
def watch(event, args):
    if event in ("socket.bind", "socket.connect", "socket.sendto"):
        log.write(f"{{event}} {{args[1:]}}\\n")
    elif event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        log.write(f"write {{args[0]}}\\n")
sys.addaudithook(watch)
from edge_ser.cli import main
sys.exit(main(["serve", "--pack", {str(pack_path)!r}, "--port", "{number}", "--input", "none"]))
"""
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    server = subprocess.Popen([sys.executable, "-c", script], env=env, cwd=tmp_path,
                              stderr=subprocess.PIPE, text=True)  # fmt: skip
    try:
        assert server.stderr is not None
        assert f"http://127.0.0.1:{number}/" in server.stderr.readline()
        deadline = time.monotonic() + 30
        while True:
            try:
                ws = connect(f"ws://127.0.0.1:{number}/v1/stream")
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        with ws:
            ws.send(pcm16(voice(1.0)))
            ws.send('{"type":"end"}')
            assert sum(1 for _ in ws) > 10
        request = urllib.request.Request(f"http://127.0.0.1:{number}/v1/file", wav(voice(0.5)))
        assert urllib.request.urlopen(request, timeout=30).status == 200
        # And what libraries do behind Python's back, as the system sees it.
        process = psutil.Process(server.pid)
        assert {c.laddr.port for c in process.net_connections("inet")} == {number}
        assert [f.path for f in process.open_files() if f.mode != "r" and f.path != str(log)] == []
    finally:
        server.terminate()
        server.wait(20)
        server.stderr.close()
    rows = log.read_text().splitlines()
    assert [r for r in rows if r.startswith("socket.bind")] == [
        f"socket.bind (('127.0.0.1', {number}),)"
    ]
    # asyncio wakes its own loop through a socket pair, which binds and connects nothing.
    assert [r for r in rows if r.startswith(("socket.connect", "socket.sendto"))] == []
    written = [r for r in rows if r.startswith("write ") and not r.split()[1].isdigit()]
    assert [r for r in written if r != "write /dev/null"] == []


def test_a_run_opens_no_socket_and_writes_nothing(pack_path: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip.wav"
    clip.write_bytes(wav(voice(1.0)))
    before = sorted(tmp_path.iterdir())
    script = f"""
import sys
def watch(event, args):
    if event.startswith("socket.") and event != "socket.__new__":
        sys.exit(f"{{event}} {{args[1:]}}")
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        sys.exit(f"write {{args[0]}}")
from edge_ser.cli import main
sys.addaudithook(watch)
sys.exit(main(["run", {str(clip)!r}, "--pack", {str(pack_path)!r}, "--jsonl"]))
"""
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=env, cwd=tmp_path,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"final":true' in done.stdout
    assert sorted(tmp_path.iterdir()) == before
