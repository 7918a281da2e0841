"""What stands in a store, whole or damaged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_ser.errors import PackError
from edge_ser.pack import Manifest, open_pack
from edge_ser.store.order import sort_key

__all__ = ["Installed", "by_version", "folders_of", "look_at"]


@dataclass(frozen=True)
class Installed:
    """One folder of the store.

    Attributes:
        name: ``id@version``.
        path: its folder.
        manifest: None if it is damaged.
        problem: what is wrong with it, if anything.
    """

    name: str
    path: Path
    manifest: Manifest | None
    problem: str | None


def folders_of(store: Path) -> list[Path]:
    """Folders in ``store``, links left out; none where there is no store."""
    try:
        return [path for path in store.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:
        return []


def look_at(path: Path) -> Installed:
    """The pack in the folder ``path``, every file of it verified."""
    try:
        pack = open_pack(path)
        if pack.manifest.name != path.name:
            raise PackError(f"{path} holds {pack.manifest.name}; install it again")
        pack.verify()
    except PackError as error:
        return Installed(path.name, path, None, str(error))
    return Installed(path.name, path, pack.manifest, None)


def by_version(row: Installed) -> tuple[str, bool, object]:
    """Something that sorts packs by name, then by version."""
    name, _, version = row.name.partition("@")
    try:
        return name, True, sort_key(version)
    except PackError:
        return name, False, version
