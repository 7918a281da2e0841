"""A copy of a pack in a store that is on the disk before anybody sees it."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_ser.errors import NO_ROOM, InputError, OutputError
from edge_ser.files import exchange
from edge_ser.pack import Pack, open_pack
from edge_ser.pack.reader import MANIFEST, SIGNATURE
from edge_ser.store.selection import sync_folder

__all__ = ["INCOMING", "copied", "put_in_place"]

INCOMING = ".incoming-"
"""Begin of the names of folders that are not complete; what a kill left is swept later."""
_MARGIN_BYTES = 1 << 20


@contextmanager
def copied(pack: Pack, store: Path) -> Iterator[Path]:
    """A verified and synced copy of ``pack`` beside the others, gone after the block."""
    wanted = sum(record.bytes for record in pack.manifest.files.values()) + _MARGIN_BYTES
    free = shutil.disk_usage(store).free
    if free < wanted:
        raise InputError(
            f"{store} has {free / 1e6:.1f} MB free, {pack.manifest.name} needs "
            f"{wanted / 1e6:.1f} MB; make room (edge-ser pack remove) and try again"
        )
    copy = None
    try:
        copy = Path(tempfile.mkdtemp(dir=store, prefix=INCOMING))
        for name in (*pack.manifest.files, SIGNATURE, MANIFEST):
            content = pack.raw(name)
            if content is not None:
                _write_synced(copy / name, content)
        for folder in (*(path for path in copy.rglob("*") if path.is_dir()), copy):
            folder.chmod(0o755)  # root installs, and the service reads as a user of its own
            sync_folder(folder)
        open_pack(copy).verify()
        yield copy
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or error
        kind = OutputError if error.errno in NO_ROOM else InputError
        raise kind(f"cannot install {pack.manifest.name}: {why}") from error
    finally:
        if copy is not None:
            shutil.rmtree(copy, ignore_errors=True)


def _write_synced(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def put_in_place(copy: Path, folder: Path) -> None:
    """Rename ``copy`` to ``folder``; a damaged one there changes places with it."""
    if folder.exists():
        if not exchange(copy, folder):
            shutil.rmtree(folder)
            os.replace(copy, folder)
    else:
        os.replace(copy, folder)
