"""One process at a time changes a store."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_ser.errors import InputError

__all__ = ["locked"]

_POLL_S = 0.1


@contextmanager
def locked(store: Path, wait_s: float = 30.0) -> Iterator[None]:
    """Hold the lock of ``store``, which is made if need be; a kill frees the lock.

    Raises:
        InputError: the folder cannot be written to, or another process is at work there for
            longer than ``wait_s`` seconds.
    """
    try:
        with contextlib.suppress(FileExistsError):
            store.mkdir(parents=True)
            store.chmod(0o755)  # others read the packs, whatever the umask is
        handle = os.open(store / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise InputError(
            f"packs cannot be changed in {store} ({error.strerror}); become its owner (sudo), or "
            "set EDGE_SER_PACKS to a folder of yours"
        ) from error
    try:
        until = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise InputError(
                        f"another process is changing the packs in {store}; nothing was changed, "
                        "try again when it is done"
                    ) from None
                time.sleep(_POLL_S)
        yield
    finally:
        os.close(handle)
