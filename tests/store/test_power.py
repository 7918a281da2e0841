"""The power goes at every instant of a change; what is left on the disk starts with a whole pack."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from making.field import field_pack

import edge_ser.store.copying as copying_module
from edge_ser.pack import bundled_packs, open_pack
from edge_ser.store.store import PackStore

NEW, OLD, OLDER = "edge-six@9.3.0", "edge-six@9.2.0", "edge-six@9.1.0"
Change = Callable[[PackStore, Path], object]


def fine(folder: Path) -> None:
    """A check that passes."""


class Disk:
    """What a power cut leaves of a folder: only what was synced is certain.

    Nobody promises in which order the rest gets there, so two extremes are built: every name is
    there but what was not synced is empty, and no name is there that its folder was not synced
    with since.
    """

    def __init__(self, root: Path, out: Path) -> None:
        self.root, self.out = root, out
        self.content: dict[int, bytes] = {}
        self.names: dict[int, dict[str, int]] = {}
        self.folders: set[int] = set()
        self.states: list[Path] = []
        self._kept: list[int] = []  # an inode that is open cannot become another file's
        for path in (root, *root.rglob("*")):
            self.sync(os.open(path, os.O_RDONLY))

    def sync(self, handle: int) -> None:
        self._kept.append(os.dup(handle))
        status, path = os.fstat(handle), Path(os.readlink(f"/proc/self/fd/{handle}"))
        if stat.S_ISDIR(status.st_mode):
            self.folders.add(status.st_ino)
            self.names[status.st_ino] = {entry.name: entry.inode() for entry in os.scandir(path)}
        else:
            self.content[status.st_ino] = path.read_bytes()

    def cut(self) -> None:
        """The two states that a power cut in this moment may leave."""
        self.folders |= {path.stat().st_ino for path in self.root.rglob("*") if path.is_dir()}
        for build in (self._without_content, self._without_names):
            self.states.append(self.out / str(len(self.states)))
            build(self.states[-1])

    def _without_content(self, out: Path) -> None:
        out.mkdir()
        for path in sorted(self.root.rglob("*")):
            there = out / path.relative_to(self.root)
            if path.is_dir():
                there.mkdir()
            else:
                there.write_bytes(self.content.get(path.stat().st_ino, b""))

    def _without_names(self, out: Path, inode: int | None = None) -> None:
        out.mkdir()
        inode = self.root.stat().st_ino if inode is None else inode
        for name, child in self.names.get(inode, {}).items():
            if child in self.folders:
                self._without_names(out / name, child)
            else:
                (out / name).write_bytes(self.content.get(child, b""))

    def close(self) -> None:
        for handle in self._kept:
            os.close(handle)


@pytest.fixture
def watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[PackStore, Callable[[], object]], list[Path]]]:
    """Runs a change; gives every state that a power cut before one of its calls may leave."""
    disks: list[Disk] = []

    def run(store: PackStore, change: Callable[[], object]) -> list[Path]:
        (tmp_path / "states").mkdir()
        disk = Disk(store.folder, tmp_path / "states")
        disks.append(disk)
        with monkeypatch.context() as patch:

            def before(name: str, owner: object) -> None:
                real = getattr(owner, name)

                def call(*words: object, **named: object) -> object:
                    disk.cut()
                    done = real(*words, **named)
                    if name == "fsync":
                        disk.sync(words[0])  # type: ignore[arg-type]
                    return done

                patch.setattr(owner, name, call)

            for name in ("fsync", "replace"):
                before(name, os)
            before("exchange", copying_module)
            before("rmtree", shutil)
            change()
        disk.cut()
        return disk.states

    yield run
    for disk in disks:
        disk.close()


def damage(store: PackStore) -> None:
    (store.folder / OLD / "golden.npz").write_bytes(b"rot")


CHANGES: dict[str, tuple[Callable[[PackStore], None] | None, Change, set[str]]] = {
    "install": (None, lambda store, new: store.install(new, fine), {OLD, NEW}),
    "use": (None, lambda store, new: store.use(OLDER, fine), {OLD, OLDER}),
    "bundled": (None, lambda store, new: store.use("bundled", fine), {OLD, "bundled"}),
    "rollback": (None, lambda store, new: store.rollback(), {OLD, OLDER}),
    "attempt": (damage, lambda store, new: store.attempt(), {OLDER}),
    "repair": (damage, lambda store, new: store.install(new.parent / "old.tar", fine), {OLD, OLDER}),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_the_power_goes(name: str, watched, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    before, change, allowed = CHANGES[name]
    store = PackStore(tmp_path / "packs", wait_s=0)
    store.install(field_pack(tmp_path / "older.tar", "9.1.0"), fine)
    store.install(field_pack(tmp_path / "old.tar", "9.2.0"), fine)
    store.confirm()
    if before is not None:
        before(store)
    new = field_pack(tmp_path / "new.tar", "9.3.0")
    states = watched(store, lambda: change(store, new))
    assert len(states) >= 6
    found = set()
    for state in states:
        left = PackStore(state, wait_s=0)
        left.attempt()  # what the unit calls before every start
        active = left.selection.active
        pack = open_pack(state / active if active else bundled_packs()[0])
        pack.verify()
        found.add(active or "bundled")
    assert found == allowed


def test_what_is_never_synced_would_be_noticed(
    watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    """The test itself: without one of the syncs it finds a state with a broken pack."""
    store = PackStore(tmp_path / "packs", wait_s=0)
    store.install(field_pack(tmp_path / "old.tar", "9.2.0"), fine)
    new = field_pack(tmp_path / "new.tar", "9.3.0")

    def careless(path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    monkeypatch.setattr(copying_module, "_write_synced", careless)
    states = watched(store, lambda: store.install(new, fine))
    assert any(PackStore(state, wait_s=0).attempt() for state in states)
