"""Lines that stream to disk: little memory, whole lines, and a full disk told of once."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import tempfile
import threading
from pathlib import Path

from edge_ser.errors import InputError
from edge_ser.files import replace_file

__all__ = ["LineFile"]

log = logging.getLogger(__name__)

_CHARACTERS_A_WRITE = 2**16
_SPARE = 4096  # given back when the disk is full, so that the last line finds room
_COPY_BYTES = 2**20


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
        InputError: no file can be made there.
    """

    def __init__(self, path: Path | None, head: str = "", *, max_bytes: int = 256 * 2**20) -> None:
        self.path = path
        self.dropped = 0
        self._max_bytes = max_bytes
        self._lines: list[str] = []
        self._waiting = 0  # characters of them
        self._lock = threading.Lock()
        self._full = False
        folder = None if path is None else path.parent
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(
                dir=folder, prefix=f".{'lines' if path is None else path.name}."
            )
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror or error}") from error
        self._temporary = Path(name)
        self._file = os.fdopen(handle, "wb", buffering=0)
        self._size = 0  # of whole lines on disk
        self._write(head)

    def add(self, line: str) -> None:
        """One more line or several, with their line breaks."""
        with self._lock:
            self._lines.append(line)
            self._waiting += len(line)
            if self._waiting >= _CHARACTERS_A_WRITE:
                self._flush()

    def flush(self) -> None:
        """Write what was collected."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        lines, self._lines, self._waiting = self._lines, [], 0
        text = "".join(lines)
        if self._full or (text and not self._write(text)):
            self.dropped += text.count("\n")

    def finish(self, tail: str = "", path: Path | None = None, *, cut: str = "") -> None:
        """Write the rest and let the file appear at ``path``.

        Args:
            tail: last line.
            path: where, if not said before.
            cut: taken off the end before ``tail``, such as a last comma, where it stands there.

        Raises:
            InputError: it cannot stand there.
        """
        self.flush()
        destination = path or self.path
        if destination is None:
            raise ValueError("finish needs a path")
        try:
            with self._file:
                self._end(tail, cut)
            _move(self._temporary, destination)
        except OSError as error:
            raise InputError(f"cannot write {destination}: {error.strerror or error}") from error
        finally:
            self._temporary.unlink(missing_ok=True)

    def discard(self) -> None:
        """Give the file up; nothing is left on disk."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _end(self, tail: str, cut: str) -> None:
        handle, unwanted = self._file.fileno(), cut.encode()
        start = max(self._size - len(unwanted), 0)
        if unwanted and os.pread(handle, len(unwanted), start) == unwanted:
            self._size = start
        os.ftruncate(handle, self._size)
        os.lseek(handle, self._size, os.SEEK_SET)
        _write_all(handle, tail.encode())
        os.fsync(handle)

    def _write(self, text: str) -> bool:
        """Whether all of ``text`` is on disk; if not, the file ends with a whole line."""
        data, handle, written = text.encode(), self._file.fileno(), 0
        try:
            if self._size + len(data) > self._max_bytes:
                raise OSError(errno.EFBIG, f"it has reached its limit of {self._max_bytes} bytes")
            while written < len(data):
                written += os.write(handle, data[written:])
        except OSError as error:
            self._full = True
            log.error(
                "%s is not written any further: %s; the stream goes on",
                self.path or "the trace",
                error.strerror or error,
            )
            self._size += data.rfind(b"\n", 0, max(written - _SPARE, 0)) + 1
            with contextlib.suppress(OSError):
                os.ftruncate(handle, self._size)
            return False
        self._size += len(data)
        return True


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _move(source: Path, destination: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(source, 0o666 & ~umask)  # mkstemp makes private files
    try:
        os.replace(source, destination)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with source.open("rb") as file, replace_file(destination) as copy:
            while block := file.read(_COPY_BYTES):
                copy.write(block)
