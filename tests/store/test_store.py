"""Packs in the field: whatever goes wrong, the pack in use stays whole."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from making.field import field_pack

from edge_ser.cli.main import main
from edge_ser.errors import GateMissed, InputError, PackError
from edge_ser.pack import bundled_packs, open_pack
from edge_ser.runtime import Recognizer
from edge_ser.runtime.trial import try_pack
from edge_ser.store import selection as selection_module
from edge_ser.store.lock import locked
from edge_ser.store.selection import Selection, read_selection
from edge_ser.store.store import PackStore


def fine(folder: Path) -> None:
    """A check that passes."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackStore:
    monkeypatch.setenv("EDGE_SER_PACKS", str(tmp_path / "packs"))
    return PackStore(wait_s=0)


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    return field_pack(tmp_path / "newer.tar", "9.1.0")


def bundled() -> str:
    return open_pack(bundled_packs()[0]).manifest.name


def state(store: PackStore) -> tuple[Selection, set[str]]:
    return store.selection, {path.name for path in store.folder.glob("*")} - {".lock"}


def test_it_is_used_by_default_and_the_other_is_still_there(store: PackStore, newer: Path) -> None:
    assert Recognizer.open().manifest.name == bundled()
    assert store.install(newer, fine) == "edge-six@9.1.0"
    assert Recognizer.open().manifest.name == "edge-six@9.1.0"
    assert Recognizer.open("edge-six").manifest.name == bundled()  # the bundled one, by its id
    assert open_pack("edge-six@9.1.0").path == store.folder / "edge-six@9.1.0"
    assert store.rollback() == "bundled"
    assert Recognizer.open().manifest.name == bundled()


def test_side_by_side_and_back(store: PackStore, newer: Path, tmp_path: Path) -> None:
    store.install(newer, fine)
    store.install(field_pack(tmp_path / "newest", "9.10.0"), fine)  # a folder, and 9.10 > 9.9
    assert [item.name for item in store.installed()] == ["edge-six@9.1.0", "edge-six@9.10.0"]
    assert store.rollback() == "edge-six@9.1.0"
    store.use("edge-six@9.10.0", fine)
    assert store.selection == Selection("edge-six@9.10.0", "edge-six@9.1.0", 0)
    with pytest.raises(PackError, match="in use or kept"):
        store.remove("edge-six@9.1.0")
    store.use("bundled", fine)
    store.remove("edge-six@9.1.0")
    assert [item.name for item in store.installed()] == ["edge-six@9.10.0"]


def test_older_over_newer_is_refused(store: PackStore, newer: Path, tmp_path: Path) -> None:
    with pytest.raises(PackError, match=r"edge-six@0.1.0 is older than .*--allow-older"):
        store.install(field_pack(tmp_path / "old.tar", "0.1.0"), fine)
    store.install(newer, fine)
    before = state(store)
    candidate = field_pack(tmp_path / "rc.tar", "9.1.0rc1")
    with pytest.raises(PackError, match=r"edge-six@9.1.0rc1 is older than edge-six@9.1.0"):
        store.install(candidate, fine)
    assert state(store) == before
    store.install(candidate, fine, allow_older=True)
    assert store.selection.active == "edge-six@9.1.0rc1"


@pytest.mark.parametrize("version", ["final", "../../etc", "1.0/..", "", "1.0 "])
def test_versions_that_cannot_be_compared_or_named(
    store: PackStore, version: str, tmp_path: Path
) -> None:
    with pytest.raises(PackError, match="version"):
        store.install(field_pack(tmp_path / "odd.tar", version), fine)
    assert store.selection == Selection()


def test_the_same_again_changes_nothing_and_another_of_that_name_is_refused(
    store: PackStore, newer: Path, tmp_path: Path
) -> None:
    store.install(newer, fine)
    before = state(store)
    store.install(newer, fine)
    assert state(store) == before
    other = field_pack(tmp_path / "other.tar", "9.1.0", description="Something else.")
    with pytest.raises(PackError, match="another edge-six@9.1.0 is installed already"):
        store.install(other, fine)
    assert state(store) == before


def test_a_damaged_one_is_repaired_by_installing_it_again(store: PackStore, newer: Path) -> None:
    store.install(newer, fine)
    model = store.folder / "edge-six@9.1.0" / "model.cpu.onnx"
    model.write_bytes(b"")
    assert store.installed()[0].manifest is None
    store.install(newer, fine)
    open_pack().verify()
    assert store.installed()[0].problem is None


def test_tampered_with(store: PackStore, newer: Path, tmp_path: Path) -> None:
    content = bytearray(newer.read_bytes())
    content[len(content) // 2] ^= 1
    newer.write_bytes(content)
    with pytest.raises(PackError, match="was changed"):
        store.install(newer, fine)
    assert not store.folder.exists()


def test_truncated_foreign_and_missing_files(store: PackStore, newer: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.tar"
    cut.write_bytes(newer.read_bytes()[:100_000])
    for file in (cut, tmp_path / "nothing.tar", Path(__file__)):
        with pytest.raises(PackError):
            store.install(file, fine)
    assert store.selection == Selection()


def test_newer_format(store: PackStore, tmp_path: Path) -> None:
    folder = field_pack(tmp_path / "future", "9.1.0")
    values = json.loads((folder / "pack.json").read_bytes()) | {"format": 99}
    (folder / "pack.json").write_text(json.dumps(values))
    with pytest.raises(PackError, match="format 99, this edge-ser reads up to 1"):
        store.install(folder, fine)


def test_what_the_check_refuses_leaves_nothing(store: PackStore, newer: Path) -> None:
    def refuse(folder: Path) -> None:
        assert open_pack(folder).manifest.version == "9.1.0"
        raise GateMissed("too slow")

    with pytest.raises(GateMissed):
        store.install(newer, refuse)
    assert state(store) == (Selection(), set())


def test_no_space(store: PackStore, newer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match=r"has 0\.0 MB free, edge-six@9.1.0 needs \d\.\d MB"):
        store.install(newer, fine)
    assert state(store) == (Selection(), set())


def test_the_disk_fills_up_in_the_middle(tmp_path: Path, newer: Path) -> None:
    """A real file system of 600 kB, where this user may mount one."""
    code = (
        "import sys; from pathlib import Path; import shutil\n"
        "shutil.disk_usage = lambda path: shutil._ntuple_diskusage(10**9, 0, 10**9)\n"
        "from edge_ser.store.store import PackStore\n"
        "from edge_ser.errors import OutputError\n"
        "store = PackStore(Path(sys.argv[1]))\n"
        "try:\n    store.install(sys.argv[2], lambda folder: None)\n"
        "except OutputError as error: print(error)\n"
        "print(sorted(path.name for path in store.folder.iterdir()))\n"
    )
    small = tmp_path / "small"
    small.mkdir()
    script = f'mount -t tmpfs -o size=600k none "{small}" || exit 77; exec "$@"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", sys.executable, "-c", code, small, newer],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode in (1, 77) and not done.stdout:
        pytest.skip(f"needs to mount a small file system: {done.stderr.strip()}")
    assert "cannot install edge-six@9.1.0: the disk is full" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "['.lock']"


def test_read_only(newer: Path, tmp_path: Path) -> None:
    place = tmp_path / "locked"
    place.mkdir()
    code = (
        "import sys; from pathlib import Path\n"
        "from edge_ser.cli.main import main\n"
        "sys.exit(main(['pack', 'install', sys.argv[1]]))\n"
    )
    script = f'mount --bind "{place}" "{place}" && mount -o remount,ro,bind "{place}" || exit 77; exec "$@"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", sys.executable, "-c", code, newer],
        capture_output=True, text=True, check=False,
        env=os.environ | {"EDGE_SER_PACKS": str(place)},
    )  # fmt: skip
    if done.returncode in (1, 77):
        pytest.skip(f"needs to mount: {done.stderr.strip()}")
    assert done.returncode == 2
    assert "cannot be changed" in done.stderr
    assert "Read-only" in done.stderr


def test_two_at_once(store: PackStore, newer: Path) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow(folder: Path) -> None:
        inside.set()
        assert go_on.wait(30)

    first = threading.Thread(target=lambda: PackStore(store.folder).install(newer, slow))
    first.start()
    assert inside.wait(30)
    for change in (lambda: store.install(newer, fine), store.rollback):
        with pytest.raises(InputError, match="another process is changing"):
            change()
    go_on.set()
    first.join()
    assert store.selection.active == "edge-six@9.1.0"


def test_a_second_one_waits(store: PackStore, newer: Path) -> None:
    with locked(store.folder, 0):
        second = threading.Thread(target=lambda: PackStore(store.folder).install(newer, fine))
        second.start()
        second.join(0.3)
        assert second.is_alive()
    second.join(30)
    assert store.selection.active == "edge-six@9.1.0"


def test_what_a_killed_installation_left_is_swept(store: PackStore, newer: Path) -> None:
    left = store.folder / ".incoming-left"
    left.mkdir(parents=True)
    (left / "pack.json").write_text("{")
    store.install(newer, fine)
    assert state(store)[1] == {"edge-six@9.1.0", "active.json"}


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", '{"format": 1}', '{"format":1,"active":"../x@1","previous":null,"attempts":0}'],
)
def test_a_damaged_choice_is_said_and_mended(store: PackStore, newer: Path, damage: str) -> None:
    store.install(newer, fine)
    (store.folder / "active.json").write_text(damage)
    with pytest.raises(PackError, match="edge-ser pack use"):
        Recognizer.open()
    store.use("edge-six@9.1.0", fine)
    assert Recognizer.open().manifest.name == "edge-six@9.1.0"
    (store.folder / "active.json").write_text(damage)
    store.use("bundled", fine)
    assert store.selection == Selection()
    (store.folder / "active.json").write_text(damage)
    assert "the bundled pack is in use now" in str(store.attempt())
    assert Recognizer.open().manifest.name == bundled()


def test_a_service_that_does_not_come_up_goes_back(store: PackStore, newer: Path) -> None:
    store.install(newer, fine)
    assert store.attempt() is None
    assert store.attempt() is None
    assert "did not come up 2 times" in str(store.attempt())
    assert store.selection == Selection()
    assert store.attempt() is None


def test_a_service_that_comes_up_confirms(store: PackStore, newer: Path) -> None:
    assert store.confirm() is None
    store.install(newer, fine)
    for _ in range(5):
        assert store.attempt() is None
        assert store.confirm() in ("edge-six@9.1.0", None)
    assert store.selection == Selection("edge-six@9.1.0", None, None)


def test_the_user_of_the_service_may_read_what_root_wrote(store: PackStore, newer: Path) -> None:
    """systemd runs pack attempt as root with the umask of the unit, which is strict."""
    before = os.umask(0o077)
    try:
        store.install(newer, fine)
        store.attempt()
    finally:
        os.umask(before)
    assert store.folder.stat().st_mode & 0o777 == 0o755
    for path in (store.folder / "edge-six@9.1.0").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path
    assert (store.folder / "active.json").stat().st_mode & 0o777 == 0o644


def test_a_pack_that_rots_gives_way_at_the_next_start(store: PackStore, newer: Path) -> None:
    store.install(newer, fine)
    store.confirm()
    (store.folder / "edge-six@9.1.0" / "golden.npz").write_bytes(b"rot")
    assert "golden.npz" in str(store.attempt())
    assert Recognizer.open().manifest.name == bundled()


def test_a_missing_folder_is_said(store: PackStore, newer: Path) -> None:
    store.install(newer, fine)
    shutil.rmtree(store.folder / "edge-six@9.1.0")
    with pytest.raises(PackError, match="edge-ser pack rollback"):
        open_pack()
    assert store.rollback() == "bundled"


def test_everything_is_on_the_disk_before_the_switch(
    store: PackStore, newer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that survives a power cut: content, names, rename, names, then the choice."""
    done: list[tuple[str, str]] = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(handle: int) -> None:
        done.append(("sync", os.readlink(f"/proc/self/fd/{handle}")))
        real_sync(handle)

    def move(source: str | Path, target: str | Path) -> None:
        done.append(("move", str(target)))
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", move)
    store.install(newer, fine)
    final = str(store.folder / "edge-six@9.1.0")
    moved = done.index(("move", final))
    synced = [path for kind, path in done[:moved] if kind == "sync"]
    names = {Path(path).name for path in synced if "/.incoming-" in path}
    assert {*open_pack(final).manifest.files, "pack.json"} <= names
    assert any(Path(path).name.startswith(".incoming-") for path in synced), "the folder itself"
    chosen = done.index(("move", str(store.folder / "active.json")))
    assert ("sync", str(store.folder)) in done[moved:chosen]
    assert ("sync", str(store.folder)) in done[chosen:]


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_SER_PACKS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert selection_module.store_folder() == Path("/data/edge-ser/packs")
    monkeypatch.setenv("XDG_DATA_HOME", "~nobody-of-that-name/x")
    assert selection_module.store_folder() == Path("/var/lib/edge-ser/packs")
    assert read_selection(Path(__file__) / "x") == Selection()  # below a file there is none


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return field_pack(tmp_path_factory.mktemp("sound") / "pack", "9.1.0")


def test_the_trial_passes_a_good_pack(sound: Path) -> None:
    runs = try_pack(sound, max_step_ms=1e9)
    assert runs[0].target == "cpu"
    assert runs[0].agrees
    assert runs[0].steps > 10


def test_the_trial_of_wrong_golden_vectors_and_slow_models(sound: Path, tmp_path: Path) -> None:
    with pytest.raises(GateMissed, match="too slow here.*median"):
        try_pack(sound, max_step_ms=1e-6)

    def wrong(files: dict[str, bytes]) -> None:
        with np.load(io.BytesIO(files["golden.npz"])) as golden:
            changed = {k: v if k == "mel" else np.roll(v, 1, axis=1) for k, v in golden.items()}
        out = io.BytesIO()
        np.savez(out, **changed)
        files["golden.npz"] = out.getvalue()

    with pytest.raises(GateMissed, match="does not compute right here"):
        try_pack(field_pack(tmp_path / "wrong", files=wrong))
    with pytest.raises(PackError, match="no golden vectors"):
        try_pack(field_pack(tmp_path / "none", files=lambda files: files.pop("golden.npz")))
    with pytest.raises(PackError, match="nothing usable"):
        try_pack(
            field_pack(tmp_path / "rot", files=lambda files: files.update({"golden.npz": b"rot"}))
        )


def test_the_trial_of_a_model_that_the_engine_refuses(tmp_path: Path) -> None:
    def broken(files: dict[str, bytes]) -> None:
        files["model.cpu.onnx"] = files["model.cpu.onnx"][:5000]

    with pytest.raises(PackError, match="failed its trial.*cannot load"):
        try_pack(field_pack(tmp_path / "broken", files=broken))


def test_a_pack_for_other_hardware(tmp_path: Path) -> None:
    from dataclasses import replace

    def for_tensorrt(manifest):
        targets = {
            name: replace(target, backends=("tensorrt",))
            for name, target in manifest.targets.items()
        }
        return replace(manifest, targets=targets)

    pack = field_pack(tmp_path / "trt", manifest=for_tensorrt)
    with pytest.raises(PackError, match="made for tensorrt; onnxruntime is what runs here"):
        try_pack(pack)


def test_the_command_line(
    store: PackStore, newer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roomy = ("--max-step-ms", "10000", "--json")
    assert main(["pack", "install", str(newer), *roomy]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["active"] == "edge-six@9.1.0"
    assert said["on_trial"]
    assert said["checks"][0]["agrees"]
    assert main(["pack", "list"]) == 0
    assert "* edge-six@9.1.0" in capsys.readouterr().out
    assert main(["pack", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["packs"]
    assert [(row["version"], row["active"]) for row in rows][-1] == ("9.1.0", True)
    assert sum(row["active"] for row in rows) == 1
    assert main(["run", "demo"]) == 0
    assert "through edge-six@9.1.0" in capsys.readouterr().out
    assert main(["pack", "use", "nothing@1"]) == 2
    assert "there are: edge-six@9.1.0, bundled" in capsys.readouterr().err
    assert main(["pack", "install", str(newer), "--max-step-ms", "0.000001"]) == 3
    assert main(["pack", "confirm"]) == 0
    assert "confirmed" in capsys.readouterr().out
    assert main(["pack", "rollback"]) == 0
    assert "bundled is in use again instead of edge-six@9.1.0" in capsys.readouterr().out
    assert main(["pack", "rollback"]) == 2
    assert main(["pack", "remove", "edge-six@9.1.0"]) == 0
    assert main(["pack", "attempt"]) == 0
    other = field_pack(tmp_path / "9.2", "9.2.0")
    assert main(["pack", "install", str(other), "--no-use", *roomy]) == 0
    capsys.readouterr()
    assert store.selection.active is None
    (store.folder / "edge-six@9.2.0" / "report.json").unlink()
    assert main(["pack", "list"]) == 0
    assert "! edge-six@9.2.0  damaged" in capsys.readouterr().out


def systemctl(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``systemctl`` that a test writes, for machines without systemd."""
    folder.mkdir(exist_ok=True)
    program = folder / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" >>"{folder}/calls"\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "calls"


def test_the_service_is_restarted_and_what_does_not_come_up_is_taken_back(
    store: PackStore,
    newer: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chosen = store.folder / "active.json"
    calls = systemctl(
        tmp_path / "bin", f'grep -q "9.2" "{chosen}" && {{ echo "Job failed" >&2; exit 1; }}; exit 0',
        monkeypatch,
    )  # fmt: skip
    install = ["pack", "install", "--restart", "edge-ser.service", "--max-step-ms", "10000"]
    assert main([*install, str(newer)]) == 0
    assert calls.read_text() == "restart edge-ser.service\n"
    assert store.selection == Selection("edge-six@9.1.0", None, None)
    capsys.readouterr()
    bad = field_pack(tmp_path / "bad.tar", "9.2.0")
    assert main([*install, str(bad)]) == 3
    said = capsys.readouterr().err
    assert "went back to edge-six@9.1.0" in said
    assert "Job failed" in said
    assert store.selection.active == "edge-six@9.1.0"
    assert len(calls.read_text().splitlines()) == 3


def test_a_tar_with_a_link_or_a_device_is_no_pack(store: PackStore, tmp_path: Path) -> None:
    path = tmp_path / "link.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("pack.json")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(PackError, match="not allowed in a pack"):
        store.install(path, fine)
