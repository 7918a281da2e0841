"""Packs: round trip, every way to break one, and a writer that may die at any moment."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_ser.errors import InputError, OutputError, PackError
from edge_ser.frontend import LogMelSpec
from edge_ser.pack import (
    FORMAT,
    Calibration,
    Manifest,
    StateSpec,
    Target,
    open_pack,
    write_pack,
)

FILES = {"model.onnx": b"not a model, but bytes" * 100, "golden/in.bin": bytes(1000)}


def manifest(version: str = "1.0") -> Manifest:
    states = (StateSpec("past", "past.next", (1, 3, 4), "uint8", 128.0),)
    return Manifest(
        id="made-up",
        version=version,
        description="A pack for tests.",
        labels=("anger", "neutral"),
        frontend=LogMelSpec(n_mels=40),
        targets={"cpu": Target("model.onnx", ("onnxruntime",), "int8", states)},
        calibration=Calibration(1.3, 0.4, 0.1, 0.02, "nothing"),
        metrics={"emodb": {"uar": 0.5}},
        licences={"emodb": "free"},
        training={"epochs": 3},
    )


@pytest.fixture(params=["folder", "tar"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    out = tmp_path / ("pack" if request.param == "folder" else "pack.tar")
    write_pack(manifest(), FILES, out)
    return out


def unpacked(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        return {
            item.relative_to(path).as_posix(): item.read_bytes()
            for item in path.rglob("*")
            if item.is_file()
        }
    with tarfile.open(path) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}  # type: ignore[union-attr]


def repack(path: Path, files: dict[str, bytes]) -> None:
    """Replace the pack at ``path`` by ``files``, with no check at all."""
    if path.is_dir():
        shutil.rmtree(path)
        for name, content in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
        return
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_round_trip(written: Path) -> None:
    pack = open_pack(written)
    said = pack.manifest
    assert said == write_pack(manifest(), FILES, written)  # overwriting gives the same again
    assert said.name == "made-up@1.0"
    assert said.format == FORMAT
    assert said.frontend == manifest().frontend
    assert said.targets == manifest().targets
    assert said.calibration == manifest().calibration
    for name, content in FILES.items():
        assert pack.read(name) == content
    pack.verify()
    assert Manifest.from_dict(json.loads(json.dumps(said.to_dict())), "here") == said


def test_a_pack_may_move_and_be_read_only(written: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / written.name
    moved.parent.mkdir()
    written.rename(moved)
    open_pack(str(moved)).verify()


def test_nothing_else_is_left_beside_it(written: Path) -> None:
    write_pack(manifest("2.0"), FILES, written)
    assert [item.name for item in written.parent.iterdir()] == [written.name]
    assert open_pack(written).manifest.version == "2.0"


def missing(files: dict[str, bytes]) -> None:
    del files["model.onnx"]


def swapped(files: dict[str, bytes]) -> None:
    files["model.onnx"], files["golden/in.bin"] = files["golden/in.bin"], files["model.onnx"]


def truncated(files: dict[str, bytes]) -> None:
    files["model.onnx"] = files["model.onnx"][:-1]


def emptied(files: dict[str, bytes]) -> None:
    files["model.onnx"] = b""


def changed(files: dict[str, bytes]) -> None:
    files["golden/in.bin"] = files["golden/in.bin"][:-1] + b"\x01"


def extra(files: dict[str, bytes]) -> None:
    files["golden/evil.py"] = b"print()"


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (missing, "model.onnx is missing"),
        (swapped, "model.onnx has 1000 bytes instead of 2200"),
        (truncated, "model.onnx has 2199 bytes instead of 2200"),
        (emptied, "model.onnx has 0 bytes"),
        (changed, "golden/in.bin was changed"),
        (extra, "golden/evil.py does not belong to the pack"),
    ],
)
def test_tampering_is_named(
    written: Path, damage: Callable[[dict[str, bytes]], None], says: str
) -> None:
    files = unpacked(written)
    damage(files)
    repack(written, files)
    with pytest.raises(PackError, match=says) as caught:
        open_pack(written).verify()
    assert str(written) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_reading_checks_the_one_file_that_is_read(written: Path) -> None:
    files = unpacked(written)
    changed(files)
    repack(written, files)
    pack = open_pack(written)
    assert pack.read("model.onnx") == FILES["model.onnx"]
    with pytest.raises(PackError, match="was changed"):
        pack.read("golden/in.bin")
    with pytest.raises(PackError, match="lists no file 'other'"):
        pack.read("other")


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change ``pack.json`` as a person with an editor would."""
    files = unpacked(path)
    said = json.loads(files["pack.json"])
    change(said)
    files["pack.json"] = json.dumps(said).encode()
    repack(path, files)


STATE = ("targets", "cpu", "states", 0)
FILE = ("files", "model.onnx")


@pytest.mark.parametrize(
    ("where", "value", "says"),
    [
        (("format",), FORMAT + 1, r"reads up to 1; update edge-ser"),
        (("format",), "1", "'format' is missing"),
        (("format",), True, "'format' is missing"),
        (("format",), 0, "'format'"),
        (("surprise",), 1, "unknown key 'surprise'"),
        (("id",), "Made Up", "id 'Made Up'"),
        (("id",), 7, "'id' should be str"),
        (("version",), 1.0, "'version' should be str"),
        (("description",), None, "'description'"),
        (("labels",), "anger", "label"),
        (("labels",), ["anger", "joy"], "unknown label 'joy'"),
        (("labels",), ["anger", ["fear"]], "label"),
        (("labels",), None, "pack.json"),
        (("commercial_use",), "no", "'commercial_use' should be bool"),
        (("licences",), ["free"], "'licences'"),
        (("metrics",), "good", "'metrics'"),
        (("training",), None, "'training'"),
        (("frontend",), None, "pack.json"),
        (("frontend", "n_mels"), 40.5, "'n_mels'"),
        (("frontend", "n_mels"), 10**9, "n_mels"),
        (("frontend", "floor"), float("nan"), "floor"),
        (("frontend", "dither"), 1, "'dither' is unknown"),
        (("calibration",), [], "pack.json"),
        (("calibration", "temperature"), 0, "temperature"),
        (("calibration", "temperature"), float("inf"), "temperature"),
        (("calibration", "temperature"), "1", "'temperature' should be float"),
        (("calibration", "abstain_below"), 1.5, "threshold"),
        (("calibration", "ece_before"), "low", "'ece_before'"),
        (("targets",), {}, "no model file"),
        (("targets",), [], "pack.json"),
        (("targets", "cpu"), "model.onnx", "pack.json"),
        (("targets", "cpu", "file"), "other.onnx", "other.onnx"),
        (("targets", "cpu", "backends"), "onnxruntime", "'backends'"),
        (("targets", "cpu", "backends"), [1], "'backends'"),
        (("targets", "cpu", "backends"), [], "backend"),
        (("targets", "cpu", "precision"), "int4", "precision 'int4'"),
        ((*STATE, "dtype"), "object", "dtype 'object'"),
        ((*STATE, "shape"), ["1", 3, 4], "'shape'"),
        ((*STATE, "shape"), [1, 3, -4], "shape"),
        ((*STATE, "shape"), [1, 3, 10**12], "shape"),
        ((*STATE, "shape"), [], "shape"),
        ((*STATE, "before"), [0.0, 1.0], "'before'"),
        ((*STATE, "before"), "a", "'before'"),
        ((*STATE, "before"), float("nan"), "cannot hold"),
        ((*STATE, "before"), 300.0, "cannot hold"),
        (("files",), [], "pack.json"),
        ((*FILE, "bytes"), "2200", "'bytes' should be int"),
        ((*FILE, "sha256"), 0, "'sha256' should be str"),
        (("files", "../outside"), {"bytes": 1, "sha256": "0"}, "'../outside'"),
        (("files", "/etc/passwd"), {"bytes": 1, "sha256": "0"}, "'/etc/passwd'"),
        (("files", "a//b"), {"bytes": 1, "sha256": "0"}, "'a//b'"),
        (("files", "a\x00b"), {"bytes": 1, "sha256": "0"}, "not a name"),
        (("files", "pack.json"), {"bytes": 1, "sha256": "0"}, "'pack.json'"),
    ],
)
def test_a_description_that_is_wrong(
    tmp_path: Path, where: tuple[Any, ...], value: Any, says: str
) -> None:
    path = tmp_path / "pack"
    write_pack(manifest(), FILES, path)

    def change(said: dict[str, Any]) -> None:
        place: Any = said
        for key in where[:-1]:
            place = place[key]
        place[where[-1]] = value

    edit(path, change)
    with pytest.raises(PackError, match=says) as caught:
        open_pack(path)
    assert "pack.json" in str(caught.value)


@pytest.mark.parametrize("key", ["format", "id", "labels", "frontend", "targets", "files"])
def test_a_description_that_misses_something(written: Path, key: str) -> None:
    edit(written, lambda said: said.pop(key))
    with pytest.raises(PackError, match=f"'{key}'"):
        open_pack(written)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format": ' + b"9" * 5000 + b"}"],
)
def test_a_description_that_is_no_json(written: Path, text: bytes) -> None:
    repack(written, {**unpacked(written), "pack.json": text})
    with pytest.raises(PackError, match=r"pack\.json"):
        open_pack(written)


def test_places_without_a_pack(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"no tar")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    repack(tmp_path / "other.tar", {"readme.txt": b"x"})
    for name, says in {
        "file": "cannot be read as a pack .tar",
        "empty": "cannot be read as a pack .tar",
        "folder": r"is no pack: it has no pack\.json",
        "other.tar": r"is no pack: it has no pack\.json",
        "none": "no pack at",
        "x" * 300: "no pack at",
    }.items():
        with pytest.raises(PackError, match=says):
            open_pack(tmp_path / name)
    with pytest.raises(PackError, match=r"no pack at kiosk: .*bundled: "):
        open_pack("kiosk")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../outside", tarfile.REGTYPE),
        ("/etc/outside", tarfile.REGTYPE),
        ("link", tarfile.SYMTYPE),
        ("hard", tarfile.LNKTYPE),
        ("pipe", tarfile.FIFOTYPE),
        ("device", tarfile.CHRTYPE),
    ],
)
def test_a_tar_that_reaches_outside(tmp_path: Path, name: str, kind: bytes) -> None:
    path = tmp_path / "pack.tar"
    write_pack(manifest(), FILES, path)
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(PackError, match="is not allowed in a pack"):
        open_pack(path)


def test_a_tar_in_which_a_name_stands_twice(tmp_path: Path) -> None:
    path = tmp_path / "pack.tar"
    write_pack(manifest(), FILES, path)
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("./model.onnx")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(PackError, match="stands twice"):
        open_pack(path)


def test_a_tar_cut_off_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "pack.tar"
    write_pack(manifest(), FILES, path)
    whole = path.read_bytes()
    content_end = len(whole.rstrip(b"\0"))
    for size in sorted({*range(0, content_end, 257), 512, 1024, content_end - 1}):
        path.write_bytes(whole[:size])
        with pytest.raises(PackError):
            open_pack(path).verify()


def test_a_tar_with_damaged_headers(tmp_path: Path) -> None:
    path = tmp_path / "pack.tar"
    write_pack(manifest(), FILES, path)
    whole = path.read_bytes()
    draw = random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            damaged[draw.randrange(min(len(damaged), 512))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            open_pack(path).verify()
        except PackError:
            continue


def test_links_inside_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "pack"
    write_pack(manifest(), FILES, path)
    # A cache of downloads may keep contents elsewhere: the content decides, not the place.
    (path / "model.onnx").rename(tmp_path / "blob")
    (path / "model.onnx").symlink_to(tmp_path / "blob")
    open_pack(path).verify()
    (tmp_path / "blob").write_bytes(b"other")
    with pytest.raises(PackError, match=r"model\.onnx has 5 bytes"):
        open_pack(path).verify()
    (tmp_path / "blob").unlink()
    with pytest.raises(PackError, match=r"model\.onnx is missing"):
        open_pack(path).verify()


@pytest.mark.parametrize("target", ["/etc", "/nowhere", "/etc/passwd"])
def test_a_link_that_does_not_belong(tmp_path: Path, target: str) -> None:
    path = tmp_path / "pack"
    write_pack(manifest(), FILES, path)
    (path / "more").symlink_to(target)
    with pytest.raises(PackError, match="more does not belong to the pack"):
        open_pack(path).verify()


def test_a_folder_in_the_place_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pack"
    write_pack(manifest(), FILES, path)
    (path / "model.onnx").unlink()
    (path / "model.onnx").mkdir()
    with pytest.raises(PackError, match=r"model\.onnx cannot be read"):
        open_pack(path).verify()


def test_only_a_pack_is_overwritten(tmp_path: Path) -> None:
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter1.txt").write_text("years of work")
    notes = tmp_path / "notes.tar"
    repack(notes, {"chapter2.txt": b"more work"})
    plain = tmp_path / "plain"
    plain.write_text("a file")
    for out in (thesis, notes, plain):
        with pytest.raises(InputError, match="is no pack; choose another"):
            write_pack(manifest(), FILES, out)
    assert (thesis / "chapter1.txt").read_text() == "years of work"
    assert unpacked(notes) == {"chapter2.txt": b"more work"}
    assert plain.read_text() == "a file"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_link_to_a_pack_stays_a_link(tmp_path: Path) -> None:
    write_pack(manifest(), FILES, tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    write_pack(manifest("2.0"), FILES, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert open_pack(tmp_path / "real").manifest.version == "2.0"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["link", "real"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    write_pack(manifest(), FILES, tmp_path / "pack")
    open_pack(tmp_path / "pack").verify()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for name in ("file/pack", "file/pack.tar"):
        with pytest.raises(InputError, match=r"cannot write .*file/pack"):
            write_pack(manifest(), FILES, tmp_path / name)


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "pack.json", "a/../b", ""])
def test_the_writer_refuses_names_that_the_reader_would(tmp_path: Path, name: str) -> None:
    for out in ("pack", "pack.tar"):
        with pytest.raises(ValueError, match="not a name"):
            write_pack(manifest(), {**FILES, name: b"x"}, tmp_path / "deep" / out)
    assert not any(tmp_path.rglob("*outside*"))


def test_a_full_disk_keeps_the_old_pack(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_pack(manifest("2.0"), FILES, written)
    monkeypatch.undo()
    assert open_pack(written).manifest.version == "1.0"
    open_pack(written).verify()
    assert [item.name for item in written.parent.iterdir()] == [written.name]


WRITER = """
import sys
from pathlib import Path
from edge_ser.pack import open_pack, write_pack
out = Path(sys.argv[1])
first = open_pack(out)
files = {name: first.read(name) for name in first.manifest.files}
generation = 0
while True:
    generation += 1
    files["model.onnx"] = b"%d" % generation * 20000
    write_pack(first.manifest, files, out)
    print(generation, flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="folders can only be swapped on Linux")
def test_a_kill_at_any_moment_leaves_a_whole_pack(written: Path) -> None:
    draw = random.Random(2)
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(written)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(draw.uniform(0.0, 0.05))
            process.send_signal(signal.SIGKILL)
        open_pack(written).verify()


@pytest.mark.parametrize("name", ["pack.json", "model.onnx"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path, name: str) -> None:
    out = tmp_path / "pack"
    write_pack(manifest(), FILES, out)
    (out / name).unlink()
    os.mkfifo(out / name)
    with pytest.raises(PackError, match="cannot be read"):
        open_pack(out).verify()
