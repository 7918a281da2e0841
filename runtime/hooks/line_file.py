"""Lines that stream to disk: little memory, whole lines, and a full disk told of once."""

from __future__ import annotations

import threading
from pathlib import Path

from edge_ser.runtime.growing_file import GrowingFile

__all__ = ["LineFile"]

_BYTES_A_WRITE = 2**16


class LineFile:
    """Collects lines, writes 64 kB of them at a time beside their final place.

    When the disk is full, or ``max_bytes`` are reached, that is logged once; what is on disk
    then stays whole, and later lines are dropped and counted. Safe to use from several
    threads.

    Args:
        path: where the file will stand after :meth:`finish`; None to decide that there.
        head: first line.
        max_bytes: size at which the file ends.

    Raises:
        InputError, OutputError: no file can be made there.
    """

    def __init__(self, path: Path | None, head: str = "", *, max_bytes: int = 256 * 2**20) -> None:
        self.dropped = 0
        self._lines: list[bytes] = []
        self._waiting = 0  # bytes of them
        self._lock = threading.Lock()
        self._file = GrowingFile(path, max_bytes=max_bytes)
        self._file.append(head.encode())

    def add(self, line: bytes) -> None:
        """One more line or several in UTF-8, with their line breaks."""
        with self._lock:
            self._lines.append(line)
            self._waiting += len(line)
            if self._waiting >= _BYTES_A_WRITE:
                self._flush()

    def flush(self) -> None:
        """Write what was collected."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        lines, self._lines, self._waiting = self._lines, [], 0
        data = b"".join(lines)
        self.dropped += data.count(b"\n", self._file.append(data, by_line=True))

    def finish(self, tail: str = "", path: Path | None = None, *, cut: str = "") -> None:
        """Write the rest and let the file appear at ``path``.

        Args:
            tail: last line.
            path: where, if not said before.
            cut: taken off the end before ``tail``, such as a last comma, where it stands there.

        Raises:
            InputError: it cannot stand there.
            OutputError: lines are missing because the disk was full.
        """
        self.flush()
        missing = f"{self.dropped} lines are missing"
        self._file.finish(path, tail=tail.encode(), cut=cut.encode(), missing=missing)

    def discard(self) -> None:
        """Give the file up; nothing is left on disk."""
        self._file.discard()
