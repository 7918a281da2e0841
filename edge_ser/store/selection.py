"""Which installed pack is in use: one small file, replaced in one call.

Active pack, the one before it and whether the active one is still on trial change together, so
they stand in one file and not in links of their own.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, NamedTuple

from edge_ser.errors import PackError
from edge_ser.files import read_regular, replace_file

# Asked at every start: pathlib takes longer to import than the answer to find.
if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "SELECTION",
    "VARIABLE",
    "Selection",
    "active_folder",
    "is_name",
    "read_selection",
    "store_folder",
    "store_path",
    "sync_folder",
    "write_selection",
]

VARIABLE = "EDGE_SER_PACKS"
SELECTION = "active.json"
_FORMAT = 1
_LARGEST = 65536
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}@[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}")
_SYSTEM = "/var/lib/edge-ser/packs"


class Selection(NamedTuple):
    """What the store is set to.

    Attributes:
        active: ``id@version`` of the pack in use; None for the bundled one.
        previous: of the one before it, which a rollback takes; None for the bundled one.
        attempts: starts of the service with an active pack that has not come up yet; None once
            it has, or where there is nothing to confirm.
    """

    active: str | None = None
    previous: str | None = None
    attempts: int | None = None


def store_folder() -> Path:
    """:func:`store_path` as a path."""
    from pathlib import Path

    return Path(store_path())


def store_path() -> str:
    """``$EDGE_SER_PACKS``, or ``edge-ser/packs`` in the user's data directory (XDG)."""
    given = os.environ.get(VARIABLE)
    if given:
        return given
    data = os.path.expanduser(os.environ.get("XDG_DATA_HOME") or "~/.local/share")
    if data.startswith("~"):  # a user without a home
        return _SYSTEM
    return os.path.join(data, "edge-ser", "packs")


def is_name(name: str) -> bool:
    """Whether ``name`` is an ``id@version`` that can be the name of a folder."""
    return _NAME.fullmatch(name) is not None


def read_selection(store: Path | str) -> Selection:
    """What ``store`` is set to; nothing where no pack was ever installed.

    Raises:
        PackError: the file is damaged; the message says how to choose again.
    """
    path = os.path.join(store, SELECTION)
    try:
        values = json.loads(read_regular(path, _LARGEST))
    except (FileNotFoundError, NotADirectoryError):
        return Selection()
    except OSError as error:
        raise PackError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError):
        values = None
    if not _is_sound(values):
        raise PackError(
            f"{path} is damaged, so it is unknown which pack is in use; choose one with: "
            "edge-ser pack use ID@VERSION (or: bundled)"
        )
    return Selection(values["active"], values["previous"], values["attempts"])


def _is_sound(values: object) -> bool:
    if not isinstance(values, dict) or set(values) != {"format", "active", "previous", "attempts"}:
        return False
    if values["format"] != _FORMAT:
        return False
    names = (values["active"], values["previous"])
    if not all(name is None or (isinstance(name, str) and is_name(name)) for name in names):
        return False
    attempts = values["attempts"]
    return attempts is None or (type(attempts) is int and attempts >= 0)


def write_selection(store: Path, selection: Selection) -> None:
    """Set ``store`` to ``selection``, in one rename that survives a power cut.

    Raises:
        InputError: the folder cannot be written to.
        OutputError: the disk is full.
    """
    document = {
        "format": _FORMAT,
        "active": selection.active,
        "previous": selection.previous,
        "attempts": selection.attempts,
    }
    # root writes it, under whatever umask, and the service reads it as a user of its own.
    with replace_file(store / SELECTION, 0o644) as file:
        file.write((json.dumps(document) + "\n").encode())
    sync_folder(store)


def active_folder(store: str) -> str | None:
    """Folder of the installed pack in use, None when the bundled one is.

    Raises:
        PackError: what is chosen is not there.
    """
    name = read_selection(store).active
    if name is None:
        return None
    folder = os.path.join(store, name)
    if not os.path.isdir(folder):
        raise PackError(
            f"pack {name} is in use but {folder} is missing; go back with: edge-ser pack rollback"
        )
    return folder


def sync_folder(folder: Path) -> None:
    """Let the names in ``folder`` be on the disk before what comes next is."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
