"""Find, open and verify packs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from edge_ser.errors import PackError
from edge_ser.files import read_regular
from edge_ser.pack.manifest import Manifest
from edge_ser.store.selection import active_folder, is_name, store_path

# A pack is opened at every start: pathlib takes longer to import than the pack to read.
if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MANIFEST", "SIGNATURE", "Pack", "bundled_packs", "open_pack"]

MANIFEST = "pack.json"
SIGNATURE = "pack.sig"
_BUNDLED = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "packs")
_LARGEST_FILE = 512 * 2**20
_LARGEST_MANIFEST = 16 * 2**20


class Pack:
    """An opened pack; files are read and checked against their hash when asked for.

    Args:
        manifest: the contract.
        where: folder or tar file it came from.
        members: content of the tar file.
    """

    def __init__(
        self, manifest: Manifest, where: str, members: Mapping[str, bytes] | None = None
    ) -> None:
        self._manifest, self._where, self._members = manifest, where, members

    @property
    def manifest(self) -> Manifest:
        """The contract."""
        return self._manifest

    @property
    def path(self) -> Path:
        """Folder or tar file it came from."""
        from pathlib import Path

        return Path(self._where)

    def read(self, name: str) -> bytes:
        """Content of the file ``name``.

        Raises:
            PackError: the pack does not list it, or it is missing, truncated or changed.
        """
        record = self.manifest.files.get(name)
        if record is None:
            raise PackError(f"pack {self.manifest.name} lists no file {name!r}")
        content = self._content(name, record.bytes)
        if content is None:
            raise PackError(f"{self._where}: {name} is missing; copy or install the pack again")
        if len(content) != record.bytes:
            raise PackError(
                f"{self._where}: {name} has {len(content)} bytes instead of {record.bytes}; "
                "it is truncated or was replaced, copy or install the pack again"
            )
        import hashlib  # with OpenSSL behind it, only where a file is read

        if hashlib.sha256(content).hexdigest() != record.sha256:
            raise PackError(
                f"{self._where}: {name} was changed (its SHA-256 is not the one in {MANIFEST}); "
                "copy or install the pack again"
            )
        return content

    def verify(self) -> None:
        """Check every file.

        Raises:
            PackError: naming the first file that is missing, broken or not listed.
        """
        for name in self.manifest.files:
            self.read(name)
        extra = sorted(self._names() - set(self.manifest.files) - {MANIFEST, SIGNATURE})
        if extra:
            raise PackError(f"{self._where}: {extra[0]} does not belong to the pack; remove it")

    def raw(self, name: str) -> bytes | None:
        """Bytes of a file as they are, unchecked, ``pack.json`` and ``pack.sig`` among them.

        Raises:
            PackError: it is there and cannot be read.
        """
        return self._content(name)

    def _content(self, name: str, most: int = _LARGEST_FILE) -> bytes | None:
        if self._members is not None:
            return self._members.get(name)
        try:
            return read_regular(os.path.join(self._where, name), most)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PackError(f"{self._where}: {name} cannot be read ({error.strerror})") from error

    def _names(self) -> set[str]:
        if self._members is not None:
            return set(self._members)
        return {
            path.relative_to(self.path).as_posix()
            for path in self.path.rglob("*")
            # A link to a folder is not searched, so it has to be noticed itself.
            if (path.is_symlink() or not path.is_dir()) and "__pycache__" not in path.parts
        }


def bundled_packs() -> list[Path]:
    """Folders of the packs that came with edge-ser, the default first."""
    from pathlib import Path

    return [Path(folder) for folder in _bundled()]


def _bundled() -> list[str]:
    names = sorted(os.listdir(_BUNDLED)) if os.path.isdir(_BUNDLED) else []
    folders = [os.path.join(_BUNDLED, name) for name in names]
    return [folder for folder in folders if os.path.exists(os.path.join(folder, MANIFEST))]


def open_pack(where: Path | str | None = None) -> Pack:
    """Open a pack.

    Args:
        where: folder or ``.tar`` of the pack, the id of a bundled one, ``id@version`` of an
            installed one, or None for the installed pack in use, else the bundled default.

    Raises:
        PackError: there is no such pack, or its description is broken.
    """
    store = store_path()
    if where is None:
        active = active_folder(store)
        if active is not None:
            return _open_folder(active)
        bundled = _bundled()
        if not bundled:
            raise PackError("this installation has no bundled pack; name one with --pack")
        return _open_folder(bundled[0])
    path = os.fspath(where)
    if os.path.isdir(path):
        return _open_folder(path)
    if os.path.isfile(path):
        return _open_tar(path)
    for folder in _bundled():
        if os.path.basename(folder) == path:
            return _open_folder(folder)
    installed = os.path.join(store, path)
    if is_name(path) and os.path.isdir(installed):
        return _open_folder(installed)
    known = ", ".join(os.path.basename(folder) for folder in _bundled()) or "none"
    raise PackError(f"no pack at {where}: neither a folder nor a .tar file (bundled: {known})")


def _open_folder(path: str) -> Pack:
    where = os.path.join(path, MANIFEST)
    try:
        text = read_regular(where, _LARGEST_MANIFEST)
    except FileNotFoundError:
        raise PackError(f"{path} is no pack: it has no {MANIFEST}") from None
    except OSError as error:
        raise PackError(f"{where} cannot be read ({error.strerror})") from error
    return Pack(_parse(text, where), path)


def _open_tar(path: str) -> Pack:
    import tarfile
    from pathlib import PurePosixPath

    members: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                name = PurePosixPath(member.name)
                if not member.isfile() or name.is_absolute() or ".." in name.parts:
                    raise PackError(f"{path}: {member.name!r} is not allowed in a pack")
                if member.size > _LARGEST_FILE:
                    raise PackError(f"{path}: {member.name!r} is larger than a pack may hold")
                file = archive.extractfile(member)
                assert file is not None
                content = file.read()
                if len(content) != member.size:
                    raise PackError(f"{path} is truncated in {member.name!r}; copy it again")
                if name.as_posix() in members:
                    raise PackError(f"{path}: {member.name!r} stands twice in it")
                members[name.as_posix()] = content
    # A damaged header can also show as a number or a text that makes no sense.
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        raise PackError(f"{path} cannot be read as a pack .tar ({error})") from error
    if MANIFEST not in members:
        raise PackError(f"{path} is no pack: it has no {MANIFEST}")
    return Pack(_parse(members[MANIFEST], os.path.join(path, MANIFEST)), path, members)


def _parse(text: bytes, where: str) -> Manifest:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PackError(f"{where} is not valid JSON ({error}); install the pack again") from error
    return Manifest.from_dict(values, where)
