"""Write a pack so that it is there whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edge_ser.errors import InputError, cannot_write
from edge_ser.files import check_writable, exchange, replace_file
from edge_ser.pack.manifest import FileRecord, Manifest
from edge_ser.pack.reader import MANIFEST
from edge_ser.parts import Part, claim, lock_folder, remove

__all__ = ["check_place", "write_pack"]


def write_pack(manifest: Manifest, files: Mapping[str, bytes], out: Path) -> Manifest:
    """Write ``files`` and their description to the folder ``out``, or the file ``out.tar``.

    An existing pack at ``out`` is replaced in the last moment; if anything fails before, it
    stays as it was.

    Returns:
        ``manifest`` with the record of every file.

    Raises:
        InputError: ``out`` cannot be written, or is something else than a pack.
        OutputError: the disk is full.
        ValueError: a file has a name that leads out of the pack.
    """
    records = {
        name: FileRecord(len(content), hashlib.sha256(content).hexdigest())
        for name, content in files.items()
    }
    manifest = replace(manifest, files=records)
    text = json.dumps(manifest.to_dict(), indent=1) + "\n"
    whole = {MANIFEST: text.encode(), **files}
    check_place(out)
    if out.suffix == ".tar":
        _write_tar(whole, out)
    else:
        _write_folder(whole, out)
    return manifest


def _write_tar(files: Mapping[str, bytes], out: Path) -> None:
    with replace_file(out) as file, tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            archive.addfile(info, io.BytesIO(content))


def check_place(out: Path) -> None:
    """Find out before long work whether a pack can be written to ``out``.

    Raises:
        InputError: as :func:`write_pack`.
    """
    if out.suffix == ".tar":
        free = not out.is_file() or _is_pack_tar(out)
    else:
        free = not out.exists() or (out / MANIFEST).is_file()
        free = free or (out.is_dir() and not any(out.iterdir()))
    if not free:
        raise InputError(f"{out} is there already and is no pack; choose another --out")
    # A folder is not written into but exchanged, beside where it stands.
    check_writable(out.parent / f".{out.name}" if out.is_dir() and out.suffix != ".tar" else out)


def _is_pack_tar(path: Path) -> bool:
    try:
        with tarfile.open(path, "r:") as archive:
            return MANIFEST in archive.getnames()
    except (tarfile.TarError, OSError, ValueError):
        return False


def _write_folder(files: Mapping[str, bytes], out: Path) -> None:
    out = out.resolve()  # a link to a pack stays a link
    part: Part | None = None
    before: int | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = claim(out, folder=True)
        part.path.chmod(0o755)
        for name, content in files.items():
            path = part.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        # What stood there is removed from the place of the part: nobody may claim that meanwhile.
        before = lock_folder(out)
        if out.exists() and exchange(part.path, out):
            remove(part.path)
        else:
            _move_over(part.path, out)
    except OSError as error:
        raise cannot_write(f"the pack {out}", error) from error
    finally:
        if part is not None:
            part.discard()
        if before is not None:
            os.close(before)


def _move_over(new: Path, out: Path) -> None:
    """Move ``new`` to ``out``; what was there steps aside first and comes back on failure."""
    if not out.exists():
        os.replace(new, out)
        return
    aside = claim(out.with_name(f"{out.name}.old"), folder=True)
    try:
        os.replace(out, aside.path / "pack")
        try:
            os.replace(new, out)
        except BaseException:
            os.replace(aside.path / "pack", out)
            raise
    finally:
        aside.discard()
