"""What systemd does at every start of the service, for :mod:`benchmarks.kills`.

``pack attempt``, the real service until it says ``READY=1`` on a real socket, ``pack confirm``;
then every file of the pack in use against its hash.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_ser.pack import bundled_packs, open_pack
from edge_ser.store.store import PackStore

__all__ = ["Board", "kill", "start"]

_START_S = 180.0


@dataclass(frozen=True)
class Board:
    """An installation and its store.

    Attributes:
        program: the words before a verb.
        environment: that every process of it gets.
        store: of its packs.
        root: folder for what is needed meanwhile.
    """

    program: Sequence[str]
    environment: dict[str, str]
    store: PackStore
    root: Path

    def begin(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a verb in a process group of its own."""
        return start([*self.program, *words], self.environment)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A verb to its end."""
        return subprocess.run(
            [*self.program, *words],
            env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def service(self) -> tuple[str | None, str | None]:
        """Start the service.

        Returns:
            the pack that it came up with, and what is wrong; one of them is None.
        """
        attempt = self.run("pack", "attempt")
        if attempt.returncode:
            return None, f"pack attempt: {attempt.stderr.strip()}"
        with _notified(self.root / "notify") as (address, wait):
            process = subprocess.Popen(
                [*self.program, "serve", "--input", "none", "--port", "0"],
                env=self.environment | {"NOTIFY_SOCKET": address},
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
            said = wait(process)
            kill(process)
        if said is None:
            words = process.stderr.read() if process.stderr else b""
            return None, f"the service did not come up: {words!r}"
        confirmed = self.run("pack", "confirm")
        if confirmed.returncode:
            return None, f"pack confirm: {confirmed.stderr.strip()}"
        if attempt.stderr:  # it went back, which a start with a whole pack never needs
            return None, attempt.stderr.strip()
        active = self.store.selection.active
        pack = open_pack(self.store.folder / active if active else bundled_packs()[0])
        pack.verify()
        name = pack.manifest.name
        return (name, None) if name in said else (None, f"the service says {said!r}, not {name}")


def start(command: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A process group of its own, silent."""
    return subprocess.Popen(
        command, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def kill(process: subprocess.Popen[bytes]) -> None:
    """``SIGKILL`` to the whole group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def _notified(path: Path) -> Iterator[tuple[str, Callable[[Any], str | None]]]:
    """A socket like systemd's, and a wait for ``READY=1`` on it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.bind(str(path))
        wire.settimeout(0.2)

        def wait(process: subprocess.Popen[bytes]) -> str | None:
            until = time.monotonic() + _START_S
            while time.monotonic() < until:
                try:
                    said = wire.recv(4096).decode()
                except TimeoutError:
                    if process.poll() is not None:
                        return None
                    continue
                if "READY=1" in said:
                    return said
            return None

        try:
            yield str(path), wait
        finally:
            path.unlink()
