"""Files that grow for as long as a stream runs: whole at every time, also on a full disk."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from edge_ser.errors import EdgeSerError, OutputError, cannot_write
from edge_ser.files import check_writable, destination_of, put_file, replace_file
from edge_ser.parts import claim

__all__ = ["GrowingFile", "completing"]

log = logging.getLogger(__name__)

_SPARE = 4096  # given back when the disk is full, so that the last line finds room
_COPY_BYTES = 2**20


class GrowingFile:
    """Is written beside its final place and stands there after :meth:`finish`.

    When the disk is full, or ``max_bytes`` are reached, that is logged once, what was written
    so far stays, and nothing more is taken: the stream that is written about goes on.

    Args:
        path: where the file will stand, behind links if it is one; None to decide at the end.
        max_bytes: size at which the file ends, None for no such limit.

    Raises:
        InputError: no file can be made there, or it is a folder, a device or a pipe.
        OutputError: the disk is full already.
    """

    def __init__(self, path: Path | None, *, max_bytes: int | None = None) -> None:
        if path is not None:
            # What cannot stand there is refused now and not when all has been written.
            check_writable(path)
            path = destination_of(path)
        self._path = path
        self._max_bytes = max_bytes
        self._ended = False
        self._fault: OSError | None = None
        place = path or Path(tempfile.gettempdir()) / "edge-ser-lines"
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            self._part = claim(place)
        except OSError as error:
            raise cannot_write(path, error) from error
        self._size = 0  # of what is whole

    @property
    def ended(self) -> bool:
        """Whether nothing more is taken."""
        return self._ended or self._part.handle < 0

    def append(self, data: bytes, *, by_line: bool = False) -> int:
        """Write ``data``, or nothing of it, where the disk has no room for all.

        Args:
            by_line: or as many whole lines of it as there is room for.

        Returns:
            How many bytes were written.
        """
        if self.ended:
            return 0
        handle, written = self._part.handle, 0
        try:
            if self._max_bytes is not None and self._size + len(data) > self._max_bytes:
                self._end(f"it has reached its limit of {self._max_bytes} bytes")
                return 0
            while written < len(data):
                written += os.write(handle, data[written:])
        except OSError as error:
            self._fault = error
            self._end(error.strerror or str(error))
            written = data.rfind(b"\n", 0, max(written - _SPARE, 0)) + 1 if by_line else 0
            with contextlib.suppress(OSError):
                os.ftruncate(handle, self._size + written)
        self._size += written
        return written

    def _end(self, why: str) -> None:
        self._ended = True
        name = self._path or "the trace"
        log.error("%s is not written any further: %s; the stream goes on", name, why)

    def finish(
        self, path: Path | None = None, *, tail: bytes = b"", cut: bytes = b"", missing: str = ""
    ) -> None:
        """Let the file appear at ``path``.

        Args:
            path: where, if not said before.
            tail: written last.
            cut: taken off the end before ``tail``, such as a last comma, where it stands there.
            missing: what the caller knows to be missing if the disk was full, for the message.

        Raises:
            InputError: it cannot stand there.
            OutputError: it stands there, but is incomplete because the disk was full; or not
                even its end could be written.
        """
        destination = path or self._path
        if destination is None:
            raise ValueError("finish needs a path")
        try:
            self._close(tail, cut)
            self._move(destination)
        except OSError as error:
            raise cannot_write(destination, error) from error
        finally:
            self._part.discard()
        if self._fault is not None:
            raise OutputError(
                f"{destination} is incomplete{missing and f', {missing}'}: "
                f"{self._fault.strerror or self._fault}"
            ) from self._fault

    def discard(self) -> None:
        """Give the file up; nothing is left on disk."""
        self._part.discard()

    def _close(self, tail: bytes, cut: bytes) -> None:
        handle = self._part.handle
        start = max(self._size - len(cut), 0)
        if cut and os.pread(handle, len(cut), start) == cut:
            self._size = start
        os.ftruncate(handle, self._size)
        os.lseek(handle, self._size, os.SEEK_SET)
        while tail:
            tail = tail[os.write(handle, tail) :]
        os.fsync(handle)

    def _move(self, destination: Path) -> None:
        try:
            put_file(self._part, destination)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with self._part.path.open("rb") as file, replace_file(destination) as copy:
                while block := file.read(_COPY_BYTES):
                    copy.write(block)


def completing(
    finish: Callable[[], None], discard_empty: Callable[[], bool] | None = None
) -> Callable[[type[BaseException] | None, BaseException | None, TracebackType | None], None]:
    """What an ``ExitStack`` is to call (``push``) so that ``finish`` completes a file at its end.

    An error of ``finish`` is raised, unless another one is on its way already: that one tells
    more, and the error of the file is only logged.

    Args:
        discard_empty: called first when another error is on its way. It gives a file up into which
            nothing came, so that an older one stays, and says whether it did.
    """

    def complete(
        kind: type[BaseException] | None,
        before: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if before is not None and discard_empty is not None and discard_empty():
            return
        try:
            finish()
        except EdgeSerError as error:
            if before is None:
                raise
            log.error("%s", error)

    return complete
