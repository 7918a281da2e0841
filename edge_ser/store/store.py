"""Install, choose and roll back packs; at every moment one whole pack is in use."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_ser.errors import PackError
from edge_ser.pack import Manifest, Pack, bundled_packs, open_pack
from edge_ser.store.accept import refuse_older, signer_of, stands_there
from edge_ser.store.copying import INCOMING, copied, put_in_place
from edge_ser.store.listing import Installed, by_version, folders_of, look_at
from edge_ser.store.lock import locked
from edge_ser.store.order import sort_key
from edge_ser.store.selection import (
    SELECTION,
    Selection,
    is_name,
    read_selection,
    store_folder,
    sync_folder,
    write_selection,
)

__all__ = ["BUNDLED", "Check", "Installed", "PackStore"]

BUNDLED = "bundled"
"""Name under which the pack that came with edge-ser is chosen."""

_ATTEMPTS = 2
Check = Callable[[Path], None]
"""Raises when the pack in a folder does not work on this machine."""


class PackStore:
    """The packs below one folder.

    Args:
        folder: None for the one of :func:`~edge_ser.store.selection.store_folder`.
        wait_s: how long another process may be at work before an error says so.
    """

    def __init__(self, folder: Path | None = None, *, wait_s: float = 30.0) -> None:
        self.folder = (store_folder() if folder is None else folder).absolute()
        self._wait_s = wait_s

    @property
    def selection(self) -> Selection:
        """What is in use.

        Raises:
            PackError: ``active.json`` is damaged.
        """
        return read_selection(self.folder)

    def installed(self) -> list[Installed]:
        """Every installed pack, damaged ones too, sorted by name and version."""
        found = [path for path in folders_of(self.folder) if is_name(path.name)]
        rows = [look_at(path) for path in found]
        return sorted(rows, key=by_version)

    def signature_of(self, pack: Pack) -> str:
        """Whether somebody vouches for ``pack``, as :func:`~edge_ser.store.accept.signer_of`."""
        return signer_of(pack, self.folder)

    def install(
        self, source: Path | str, check: Check, *, allow_older: bool = False, activate: bool = True
    ) -> str:
        """Bring the pack in ``source`` into the store, and put it to use if it passes.

        The order is: read and verify, signature, version, room, copy beside the others, check the
        copy, rename, switch. Whatever fails or is killed, the pack in use stays as it was.

        Args:
            source: ``.tar`` or folder.
            check: raises when the copy does not compute right here.
            allow_older: take a pack that is older than the one of the same id in use.
            activate: switch to it.

        Returns:
            ``id@version``.

        Raises:
            PackError: the pack is broken, older, not signed as asked, or for other machines.
            InputError: no room, not writable, or another process is at work.
            EdgeSerError: what ``check`` raises.
        """
        pack = open_pack(source)
        name = pack.manifest.name
        pack.verify()
        if not is_name(name):
            raise PackError(
                f"{source}: {name!r} cannot be the name of a folder; convert it with a version "
                "made of letters, digits, '.', '+', '_' and '-'"
            )
        self.signature_of(pack)
        with self._changing():
            if activate:
                self._refuse_older(pack.manifest, allow_older)
            folder = self.folder / name
            if not stands_there(folder, pack):
                with copied(pack, self.folder) as copy:
                    self.signature_of(open_pack(copy))  # the source may have changed meanwhile
                    check(copy)
                    put_in_place(copy, folder)
                    sync_folder(self.folder)
            else:
                check(folder)
            if activate:
                self._switch(name)
        return name

    def use(self, name: str, check: Check) -> None:
        """Put the installed pack ``name``, or ``bundled``, to use after checking it.

        Raises:
            PackError: it is not installed or broken.
            EdgeSerError: what ``check`` raises.
        """
        with self._changing():
            check(self._whole(name))
            self._switch(None if name == BUNDLED else name)

    def rollback(self) -> str:
        """Put the pack before this one to use again.

        Returns:
            its name, or ``bundled``.

        Raises:
            PackError: there is none before it.
        """
        with self._changing():
            selection = self.selection
            if selection.active is None and selection.previous is None:
                raise PackError("the bundled pack is in use; there is nothing to go back to")
            return self._go_back(selection)

    def confirm(self) -> str | None:
        """Note that the service came up with the active pack.

        Returns:
            its name, None if there was nothing to note.
        """
        if self.selection.attempts is None:
            return None
        with self._changing():
            selection = self.selection
            if selection.attempts is not None:
                write_selection(self.folder, selection._replace(attempts=None))
            return selection.active

    def attempt(self) -> str | None:
        """Look at the pack in use before the service starts; go back if it is not good.

        A pack that is damaged, or with which the service did not come up twice, gives way to the
        one before it.

        Returns:
            why the store went back, None if it did not.
        """
        if not (self.folder / SELECTION).exists():
            return None
        with self._changing():
            try:
                selection = self.selection
            except PackError as error:
                write_selection(self.folder, Selection())
                return f"the bundled pack is in use now: {error}"
            if selection.active is None:
                return None
            reason = None
            try:
                self._whole(selection.active)
            except PackError as error:
                reason = str(error)
            if selection.attempts is not None and reason is None:
                if selection.attempts < _ATTEMPTS:
                    write_selection(
                        self.folder, selection._replace(attempts=selection.attempts + 1)
                    )
                else:
                    reason = f"the service did not come up {_ATTEMPTS} times"
            if reason is None:
                return None
            now = self._go_back(selection)
            return f"{selection.active} gave way to {now}: {reason}"

    def remove(self, name: str) -> None:
        """Delete an installed pack that is neither in use nor the one a rollback takes.

        Raises:
            PackError: it is not installed, in use, or kept for a rollback.
        """
        with self._changing():
            selection = self.selection
            if name in (selection.active, selection.previous):
                raise PackError(f"{name} is in use or kept for a rollback; choose another first")
            folder = self.folder / name
            if not is_name(name) or not folder.is_dir():
                raise PackError(f"no pack {name} is installed; see: edge-ser pack list")
            # Out of sight in one call, so that no half of it is ever listed.
            aside = Path(tempfile.mkdtemp(dir=self.folder, prefix=INCOMING))
            os.replace(folder, aside / "pack")
            shutil.rmtree(aside, ignore_errors=True)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with locked(self.folder, self._wait_s):
            for left in folders_of(self.folder):
                if left.name.startswith(INCOMING):  # of an installation that was killed
                    shutil.rmtree(left, ignore_errors=True)
            yield

    def _refuse_older(self, manifest: Manifest, allow_older: bool) -> None:
        sort_key(manifest.version)
        try:
            now = open_pack(self._path(self.selection.active)).manifest
        except PackError:
            return  # what is damaged cannot be newer
        if not allow_older:
            refuse_older(manifest, now)

    def _path(self, active: str | None) -> Path:
        if active is not None:
            return self.folder / active
        bundled = bundled_packs()
        if not bundled:
            raise PackError("this installation has no bundled pack")
        return bundled[0]

    def _whole(self, name: str) -> Path:
        """Folder of the pack ``name``, every file of it verified."""
        if name == BUNDLED:
            folder = self._path(None)
        elif is_name(name) and (self.folder / name).is_dir():
            folder = self.folder / name
        else:
            known = ", ".join([item.name for item in self.installed()] + [BUNDLED])
            raise PackError(f"no pack {name} is installed in {self.folder}; there are: {known}")
        pack = open_pack(folder)
        pack.verify()
        if name != BUNDLED:
            self.signature_of(pack)
        return folder

    def _switch(self, name: str | None) -> None:
        try:
            selection = self.selection
            if name == selection.active:
                return
        except PackError:
            selection = Selection()  # choosing again is the cure for a damaged choice
        write_selection(self.folder, Selection(name, selection.active, None if name is None else 0))

    def _go_back(self, selection: Selection) -> str:
        """The pack before, or where that is damaged too, the bundled one."""
        previous = selection.previous
        if previous is not None:
            try:
                self._whole(previous)
            except PackError:
                previous = None
        write_selection(self.folder, Selection(previous, None, None))
        return previous or BUNDLED
