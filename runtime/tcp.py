"""Raw samples over TCP: fetched from another machine, or taken from whoever connects."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import numpy as np

from edge_ser.errors import InputError, UsageError
from edge_ser.runtime.live_source import Heard, SourceGone, rate_of
from edge_ser.runtime.resample import LiveResampler

__all__ = ["Address", "TcpListen", "TcpSource"]

_WAIT_S = 0.2  # a read that heard nothing returns after so long, so that its reader can stop
_SILENT_S = 5.0  # a sender that gives nothing for so long is gone
_CONNECT_S = 2.0
_MOST_BYTES = 1 << 15


@dataclass(frozen=True)
class Address:
    """Where samples come from.

    Attributes:
        text: as it was written.
        host: name or address.
        port: 1 to 65535.
        listens: whether the sender connects to us.
        rate_hz: of the samples, None for the rate of the pack.
    """

    text: str
    host: str
    port: int
    listens: bool
    rate_hz: int | None

    @classmethod
    def parse(cls, text: str) -> Address:
        """``tcp://HOST:PORT[?rate=HZ]`` or ``tcp-listen://HOST:PORT[?rate=HZ]``.

        Raises:
            UsageError: it is anything else.
        """
        scheme = text.partition("://")[0]
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:  # brackets that do not match, or no such port
            host = port = None
        if not host or not port or parts.path not in ("", "/"):
            raise UsageError(f"{text}: write it as {scheme}://HOST:PORT[?rate=HZ]")
        asked = parse_qs(parts.query, keep_blank_values=True)
        rate = asked.pop("rate", [None])[-1]
        if asked:
            raise UsageError(f"{text}: write it as {scheme}://HOST:PORT[?rate=HZ]")
        rate_hz = None if rate is None else rate_of(text, rate)
        return cls(text, host, port, scheme == "tcp-listen", rate_hz)


class TcpSource:
    """s16le mono samples of one connection.

    Args:
        wire: connected.
        name: for messages.
        from_hz: rate of what is sent.
        rate_hz: rate of the samples that :meth:`read` gives.
    """

    def __init__(self, wire: socket.socket, name: str, from_hz: int, rate_hz: int) -> None:
        self._wire = wire
        self.name = name
        self.resampler = LiveResampler(from_hz, rate_hz)
        self._half = b""  # of a sample
        self._last_s = time.monotonic()
        wire.settimeout(_WAIT_S)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    @classmethod
    def connect(cls, address: Address, rate_hz: int) -> TcpSource:
        """Connected to ``address``.

        Raises:
            InputError: nobody answers there.
        """
        try:
            wire = socket.create_connection((address.host, address.port), _CONNECT_S)
        except (OSError, UnicodeError) as error:  # the latter: no host can have such a name
            why = getattr(error, "strerror", None) or error
            raise InputError(f"{address.text}: nobody gives samples there ({why})") from error
        return cls(wire, address.text, address.rate_hz or rate_hz, rate_hz)

    def read(self) -> Heard:
        """What arrived, nothing when nothing did.

        Raises:
            SourceGone: the sender closed the connection, lost it or is silent.
        """
        try:
            data = self._wire.recv(_MOST_BYTES)
        except TimeoutError:
            if time.monotonic() - self._last_s > _SILENT_S:
                raise SourceGone(f"{self.name}: no samples for {_SILENT_S:g} s") from None
            return Heard(np.empty(0, np.float32), 0, time.perf_counter_ns())
        except OSError as error:
            raise SourceGone(f"{self.name}: {error.strerror or error}") from error
        now_ns = time.perf_counter_ns()
        self._last_s = time.monotonic()
        if not data:
            raise SourceGone(f"{self.name}: the sender closed the connection")
        data = self._half + data
        whole = len(data) // 2 * 2
        self._half = data[whole:]
        samples = np.frombuffer(data, "<i2", whole // 2).astype(np.float32) * np.float32(2.0**-15)
        return Heard(self.resampler.push(samples), 0, now_ns)

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):
            self._wire.close()


class TcpListen:
    """A port that takes one sender after the other.

    Raises:
        InputError: the port is taken.
    """

    def __init__(self, address: Address, rate_hz: int) -> None:
        self._address, self._rate_hz = address, rate_hz
        try:
            self._port = socket.create_server((address.host, address.port), backlog=1)
        except OSError as error:
            raise InputError(
                f"{address.text}: cannot listen there ({os.strerror(error.errno or 0)})"
            ) from error
        self._port.settimeout(_WAIT_S)

    def accept(self) -> TcpSource:
        """The next sender.

        Raises:
            InputError: there is none yet.
        """
        try:
            wire, _ = self._port.accept()
        except TimeoutError:
            raise InputError(f"{self._address.text}: nobody has connected yet") from None
        address = self._address
        return TcpSource(wire, address.text, address.rate_hz or self._rate_hz, self._rate_hz)
