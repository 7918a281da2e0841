"""Files that appear whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from edge_ser.errors import InputError, cannot_write

# Packs are read at every start: what only writing needs is imported when something is written.
if TYPE_CHECKING:
    from pathlib import Path

    from edge_ser.parts import Part

__all__ = [
    "check_writable",
    "destination_of",
    "exchange",
    "put_file",
    "read_regular",
    "replace_file",
    "write_text",
]

_HERE, _SWAP = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


def read_regular(path: Path | str, most: int) -> bytes:
    """Content of ``path``, up to one byte more than ``most``, so that too much shows.

    Raises:
        OSError: it cannot be read, or is a pipe or device, which might never end.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return file.read(most + 1)


@contextmanager
def replace_file(path: Path, mode: int | None = None) -> Iterator[BinaryIO]:
    """A file to write that takes the place of ``path`` only when it is complete.

    It is written beside ``path``, synced and renamed. After an error or a kill the old file
    is still there, whole.

    Args:
        mode: permissions of the file; those that the umask leaves if None.

    Raises:
        InputError: the folder cannot be written to.
        OutputError: the disk is full.
    """
    from edge_ser.parts import claim

    path = destination_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = claim(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        with os.fdopen(part.handle, "wb", closefd=False) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        put_file(part, path, mode)
    except BaseException as error:
        part.discard()
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def put_file(part: Part, path: Path, mode: int | None = None) -> None:
    """Let a part that is complete take the place of ``path``.

    Args:
        mode: as :func:`replace_file` takes it.

    Raises:
        OSError: it cannot stand there; the part is still claimed.
    """
    umask = os.umask(0)
    os.umask(umask)
    # Parts are private.
    os.fchmod(part.handle, 0o666 & ~umask if mode is None else mode)
    os.replace(part.path, path)
    part.close()


def check_writable(path: Path) -> None:
    """Find out before long work whether its result can be written to ``path``.

    Raises:
        InputError, OutputError: it cannot; as :func:`replace_file`.
    """
    import tempfile

    path = destination_of(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise cannot_write(path, error) from error


def destination_of(path: Path) -> Path:
    """Where ``path`` leads to; a rename would put a file in the place of a link or a device.

    Raises:
        InputError: to something that is neither a file nor a folder.
    """
    if path.is_symlink():
        path = type(path)(os.path.realpath(path))
    try:
        kind = path.stat().st_mode
    except OSError:  # nothing there yet, or what the caller finds out
        return path
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise InputError(f"cannot write {path}: it is a device or a pipe; name a file")
    return path


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 so that ``path`` is never seen half-written."""
    with replace_file(path) as file:
        file.write(text.encode())


def exchange(new: Path, old: Path) -> bool:
    """Let two files or folders change places in one call, so that a kill finds one of them whole.

    Returns:
        False where the system has no such call (it is Linux's ``renameat2``).
    """
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    status: int = rename(_HERE, os.fsencode(new), _HERE, os.fsencode(old), _SWAP)
    return status == 0
