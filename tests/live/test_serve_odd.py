"""Requests that no well-behaved client sends: refused in a line, and the service goes on."""

from __future__ import annotations

import contextlib
import io
import json
import resource
import socket
import threading
import time
import wave
from collections.abc import Iterator
from http.client import HTTPConnection

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the serve extra")
pytest.importorskip("websockets", reason="needs the serve extra")

from serving import Served
from websockets.exceptions import ConnectionClosed

from edge_ser.errors import InputError
from edge_ser.runtime import Recognizer
from edge_ser.runtime.serve import Service, ServiceSettings
from edge_ser.runtime.serve.closing import reason_of
from edge_ser.runtime.serve.connections import most_connections
from edge_ser.runtime.serve.upload import file_of_form

FORM = "multipart/form-data; boundary=B"


@pytest.fixture(scope="module")
def served(recognizer: Recognizer) -> Iterator[Served]:
    settings = ServiceSettings(max_upload_s=2.0, max_uploads=1, receive_timeout_s=0.5)
    it = Served(Service(recognizer, settings))
    yield it
    it.stop()


def wav(seconds: float) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(2 * round(16000 * seconds)))
    return out.getvalue()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 50_000, 400),  # deeper than Python's JSON can follow
        (b'{"hold":true,"timeout_ms":1' + b"0" * 400 + b"}", 400),
        (b'{"hold":true,"timeout_ms":NaN}', 400),
        (b"\xff\xfe", 400),
        (b" " * 100_000, 413),
    ],
)
def test_holds_that_make_no_sense(served: Served, body: bytes, status: int) -> None:
    got, text = served.get("/v1/hold", body)
    assert got == status
    assert 0 < len(json.loads(text)["error"]) < 200


def test_an_origin_that_is_no_address(served: Served) -> None:
    status, text = served.get("/v1/state", Origin="http://[::1")
    assert status == 403
    assert "wrong origin" in json.loads(text)["error"]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("every=" + "9" * 5000, "every is a number from 1"),
        ("%C3%A4" * 100 + "=1", "unknown parameter"),
        ("gate=" + "%F0%9F%98%80" * 60, "gate is 0 or 1"),
    ],
)
def test_parameters_of_any_length_are_refused_with_a_reason(
    served: Served, query: str, reason: str
) -> None:
    with served.ws(f"/v1/stream?{query}") as ws, pytest.raises(ConnectionClosed) as closed:
        ws.recv(10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    assert reason in closed.value.rcvd.reason


def test_a_text_frame_of_deep_json(served: Served) -> None:
    with served.ws("/v1/stream") as ws, pytest.raises(ConnectionClosed) as closed:
        ws.send("[" * 50_000)
        while True:
            ws.recv(10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1007


def test_a_reason_fits_into_a_closing_frame() -> None:
    assert reason_of("short") == "short"
    for words in ("ä" * 200, "a" + "😀" * 60, "x" * 500):
        assert 118 < len(reason_of(words).encode()) <= 123
        assert words.startswith(reason_of(words))


def test_an_upload_of_too_much_audio(served: Served) -> None:
    assert served.get("/v1/file", wav(1.9))[0] == 200
    status, text = served.get("/v1/file", wav(3.5))
    assert status == 413
    assert "--max-upload-minutes" in json.loads(text)["error"]


def test_an_upload_that_stands_still_gives_its_place_back(served: Served) -> None:
    head = b"POST /v1/file HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999\r\n\r\nRIFF"
    with socket.create_connection(("127.0.0.1", served.port), 10) as stalled:
        stalled.sendall(head)
        deadline = time.monotonic() + 10
        while served.service.n_connections == 0:
            assert time.monotonic() < deadline
        status, text = served.get("/v1/file", wav(1.0))
        assert status == 503
        assert "try again" in json.loads(text)["error"]
        assert stalled.recv(100).startswith(b"HTTP/1.1 408 ")
    assert served.get("/v1/file", wav(1.0))[0] == 200


def test_an_upload_drop_by_drop_gives_its_place_back(served: Served) -> None:
    """Each drop comes in time, all of them together never end."""
    head = b"POST /v1/file HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999\r\n\r\nRIFF"
    with socket.create_connection(("127.0.0.1", served.port), 10) as dripping:
        dripping.sendall(head)
        dripping.settimeout(served.service.settings.receive_timeout_s / 4)
        deadline = time.monotonic() + 20
        while True:
            assert time.monotonic() < deadline
            with contextlib.suppress(TimeoutError):
                answer = dripping.recv(100)
                break
            dripping.sendall(b"x")
        assert answer.startswith(b"HTTP/1.1 408 ")
    assert served.get("/v1/file", wav(1.0))[0] == 200


def test_a_sender_that_goes_away_gives_its_place_back(served: Served) -> None:
    connection = HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.putrequest("POST", "/v1/file")
    connection.putheader("Content-Length", "9999")
    connection.endheaders()
    connection.send(b"RIFF")
    connection.close()
    deadline = time.monotonic() + 10
    while served.get("/v1/file", wav(1.0))[0] != 200:
        assert time.monotonic() < deadline


def test_a_service_that_ends_does_not_wait_for_a_long_file(recognizer: Recognizer) -> None:
    served = Served(Service(recognizer, ServiceSettings()))
    answers: list[int] = []
    sending = threading.Thread(
        target=lambda: answers.append(served.get("/v1/file", wav(1800.0))[0])
    )
    sending.start()
    while served.service.vitals.stuck(-1.0) is None:  # nobody has a pulse
        time.sleep(0.01)
    begin = time.monotonic()
    served.stop()
    sending.join(30)
    assert answers == [503]
    assert time.monotonic() - begin < 15
    assert not served.thread.is_alive()


def test_those_who_say_nothing_keep_nobody_out(recognizer: Recognizer) -> None:
    settings = ServiceSettings(max_connections=1, receive_timeout_s=0.5)
    served = Served(Service(recognizer, settings))
    with served.ws("/v1/stream") as ws:
        ws.recv(10)
        silent = [socket.create_connection(("127.0.0.1", served.port), 10) for _ in range(70)]
        silent[0].sendall(b"GET / HT")
        ends = [wire.recv(100) for wire in silent]
        assert sum(end.startswith(b"HTTP/1.1 503 ") for end in ends) >= 6
        assert ends[0] == b"", "a head that does not come to its end"
        ws.send(bytes(2560))
        assert json.loads(ws.recv(10))["type"] == "emotion"
        assert served.get("/healthz")[0] == 200
    served.stop()


def test_connections_leave_files_for_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, most in ((1024, 164), (128, 64), (10, 1), (resource.RLIM_INFINITY, 164)):
        monkeypatch.setattr(resource, "getrlimit", lambda which, soft=soft: (soft, soft))
        assert most_connections(100) == most


def form(*parts: tuple[str, bytes]) -> bytes:
    lines = [b"--B\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (head.encode(), content)
             for head, content in parts]  # fmt: skip
    return b"".join(lines) + b"--B--\r\n"


def test_a_form_gives_its_first_file_whatever_the_bytes() -> None:
    content = np.random.default_rng(0).bytes(5000) + b"\r\n--b\r\n\r\n--"
    body = form(
        ("name=a", b"text"), ('name="f"; filename=""', b""), ("name=f; filename=x", content)
    )
    assert bytes(file_of_form(FORM, bytearray(body))) == content


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"hello"),
        ("multipart/form-data; boundary=", b"----"),
        ("multipart/form-data; boundary=ä", form(("name=f; filename=x", b"1"))),
        (FORM, b""),
        (FORM, b"--B"),
        (FORM, b"--B--\r\n"),
        (FORM, form(("name=f", b"no file"))),
        (FORM, form(("name=f; filename=x", b"cut"))[:-10]),
        (FORM, b"--B\r\n" * 1000),
        (FORM, b"--B" + b"x" * 100_000),
    ],
)
def test_forms_without_a_file(kind: str, body: bytes) -> None:
    with pytest.raises(InputError, match="the form holds no file"):
        file_of_form(kind, body)
