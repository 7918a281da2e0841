"""Unfinished files and folders beside the places they are for, without leftovers of the dead.

A part has a name of its own mark and is locked for as long as its writer lives. What a killed
writer left is not locked any more: the next writer for the same place takes it over.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path

__all__ = ["Part", "claim", "lock_folder", "remove"]

_MARK = ".edge-ser-part"
_SLOTS = 64  # writers for one place at a time that get a name which is used again
_NOT_OURS = {errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EPERM}


class Part:
    """An empty file or folder to fill, which nobody else writes to.

    Attributes:
        path: where it is; rename it from there.
        handle: descriptor of it, open for writing where it is a file. Closing it frees the part.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path, self.handle = path, handle

    def discard(self) -> None:
        """Remove and free it; nothing happens to what was renamed, or freed before."""
        if _is_at(self.handle, self.path):
            remove(self.path)
        self.close()

    def close(self) -> None:
        """Free the part, such as after it was renamed; a second call does nothing."""
        handle, self.handle = self.handle, -1
        if handle >= 0:
            os.close(handle)


def claim(place: Path, *, folder: bool = False) -> Part:
    """A part for ``place``, in the same folder.

    Raises:
        OSError: none can be made there.
    """
    for slot in range(1, _SLOTS):
        path = _slot(place, slot)
        handle = _open(path, folder)
        if handle is None:
            continue
        try:
            locked = _lock(handle)
        except OSError:  # a file system without locks: whose a part is cannot be told there
            with contextlib.suppress(OSError):
                path.rmdir() if folder else _remove_empty(handle, path)
            os.close(handle)
            break
        if locked and _is_at(handle, path) and _emptied(handle, path):
            _sweep(place, slot + 1)
            return Part(path, handle)
        os.close(handle)
    return _unique(place, folder)


def lock_folder(path: Path) -> int | None:
    """Lock the folder that stands at ``path``, waiting for who has it.

    Returns:
        A descriptor to close; None where there is no folder, or none that can be locked.
    """
    while True:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            os.close(handle)
            return None
        if _is_at(handle, path):
            return handle
        os.close(handle)


def _slot(place: Path, number: int) -> Path:
    return place.parent / f".{place.name}.{number}{_MARK}"


def _open(path: Path, folder: bool) -> int | None:
    """A descriptor of ``path``, made if need be; None where something else stands."""
    try:
        if folder:
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700)
            flags = os.O_RDONLY | os.O_DIRECTORY
        else:
            flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        if path.parent.is_dir():
            return None  # a folder that its owner renamed in this moment
        raise
    except OSError as error:
        if error.errno in _NOT_OURS and os.path.lexists(path):
            return None
        raise
    kind = os.fstat(handle)
    ours = kind.st_uid == os.geteuid() and (folder or kind.st_nlink == 1)
    if ours and (folder or stat.S_ISREG(kind.st_mode)):
        return handle
    os.close(handle)
    return None


def _lock(handle: int) -> bool:
    """Whether nobody else has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(handle: int, path: Path) -> bool:
    """Whether ``path`` is still what was opened; its owner may have renamed it meanwhile."""
    try:
        return handle >= 0 and os.path.samestat(os.fstat(handle), os.lstat(path))
    except OSError:
        return False


def _emptied(handle: int, path: Path) -> bool:
    try:
        if path.is_dir():
            for item in path.iterdir():
                shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()
        else:
            os.ftruncate(handle, 0)
        os.fchmod(handle, 0o700 if path.is_dir() else 0o600)
    except OSError:
        return False
    return True


def _sweep(place: Path, slot: int) -> None:
    """Remove what killed writers left in the slots from ``slot`` on."""
    for path in _standing(place, slot):
        handle = _open(path, path.is_dir())
        if handle is not None:
            with contextlib.suppress(OSError):  # a file system without locks
                if _lock(handle) and _is_at(handle, path):
                    remove(path)
            os.close(handle)


def _standing(place: Path, slot: int) -> list[Path]:
    """Parts of ``place`` from ``slot`` on; a number that was given back leaves a gap."""
    first, found = f"{place.parent}/.{place.name}.", []
    for later in range(slot, _SLOTS):
        name = f"{first}{later}{_MARK}"  # not a Path, for every write comes by here
        try:
            os.lstat(name)
        except OSError:
            continue
        found.append(Path(name))
    return found


def _remove_empty(handle: int, path: Path) -> None:
    if os.fstat(handle).st_size == 0:
        path.unlink()


def remove(path: Path) -> None:
    """Remove a file, or a folder and what is in it; one that cannot be removed stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _unique(place: Path, folder: bool) -> Part:
    """A part of a name that no other has, which stays if its writer is killed."""
    prefix = f".{place.name}."
    if folder:
        path = Path(tempfile.mkdtemp(dir=place.parent, prefix=prefix))
        return Part(path, os.open(path, os.O_RDONLY | os.O_DIRECTORY))
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=prefix)
    return Part(Path(name), handle)
