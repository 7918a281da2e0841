"""Put wheels, pack, unit file and installer into one tar."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import edge_ser
from edge_ser.bundle.targets import PYTHONS, BundleTarget
from edge_ser.bundle.wheels import fetch, fetch_pip, fetch_source, own_wheel
from edge_ser.errors import InputError, UsageError
from edge_ser.files import replace_file
from edge_ser.pack import Pack, write_pack
from edge_ser.pack.reader import MANIFEST, SIGNATURE

__all__ = ["Bundle", "make_bundle"]

_FILES = Path(__file__).parent / "files"
_GROWTH = 4  # a wheel unpacks to about three times its size, and bytecode is written


@dataclass(frozen=True)
class Bundle:
    """What was made.

    Attributes:
        path: of the tar.
        bytes: its size.
        wheels: file names of all wheels.
    """

    path: Path
    bytes: int
    wheels: tuple[str, ...]


def make_bundle(
    target: BundleTarget,
    pack: Pack,
    out: Path,
    *,
    pythons: Sequence[str] = (),
    wheel: Path | None = None,
    trusted: Path | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Bundle:
    """Write the bundle of ``target`` to ``out``.

    Args:
        pack: that is installed with it.
        pythons: whose wheels to take, None for those that the target usually has.
        wheel: of edge-ser itself; built from the checkout if None.
        trusted: PEM of public keys that later packs must be signed by.

    Raises:
        UsageError: an unknown Python.
        InputError: pip cannot get the wheels, or ``out`` cannot be written.
    """
    pythons = tuple(pythons) or target.pythons
    for python in pythons:
        if python not in PYTHONS:
            raise UsageError(f"--python {python}: edge-ser runs on {', '.join(PYTHONS)}")
    pack.verify()
    name = f"edge-ser-{edge_ser.__version__}-{target.name}"
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / name
        wheels = root / "wheels"
        wheels.mkdir(parents=True)
        if wheel is None:
            progress("building the wheel of edge-ser")
            wheel = own_wheel(wheels)
        elif wheel.is_file():
            wheel = Path(shutil.copy(wheel, wheels))
        else:
            raise InputError(f"--wheel {wheel}: there is no such file")
        fetch_pip(wheels)
        for python in pythons:
            progress(f"fetching wheels for Python {python} on {target.machine}")
            lines = fetch(target, python, wheel, wheels)
            _write(root / f"requirements-{python}.txt", "".join(f"{line}\n" for line in lines))
        for package in target.compiled:
            progress(f"fetching the source of {package}")
            fetch_source(package, wheels)
        _add_pack(pack, root / "packs" / f"{pack.manifest.name}.tar")
        if trusted is not None:
            shutil.copy(trusted, root / "trusted.pem")
        _add_files(target, pythons, root, name)
        progress(f"writing {out}")
        _write_tar(root, out)
        names = tuple(sorted(path.name for path in wheels.iterdir()))
    return Bundle(out, out.stat().st_size, names)


def _add_pack(pack: Pack, out: Path) -> None:
    """The pack as a tar, signature and all, byte for byte."""
    out.parent.mkdir(parents=True)
    if pack.raw(SIGNATURE) is None:
        files = {name: pack.read(name) for name in pack.manifest.files}
        write_pack(pack.manifest, files, out)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in (*pack.manifest.files, MANIFEST, SIGNATURE):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pack.raw(name) or b"")
        with tarfile.open(out, "w") as archive:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    archive.add(path, path.relative_to(folder).as_posix(), filter=_anonymous)


def _add_files(target: BundleTarget, pythons: Sequence[str], root: Path, name: str) -> None:
    for path in sorted(_FILES.iterdir()):
        shutil.copy(path, root / path.name)
    (root / "install.sh").chmod(0o755)
    size = sum(path.stat().st_size for path in (root / "wheels").iterdir())
    # Read by install.sh, so every value is a word or a list of words.
    settings = {
        "BUNDLE": name,
        "TARGET": target.name,
        "MACHINE": target.machine,
        "PYTHONS": " ".join(pythons),
        "ENGINE": target.engine or "",
        "GROUPS_WANTED": " ".join(target.groups),
        "SYSTEM_PACKAGES": "yes" if target.system_packages else "no",
        "COMPILED": " ".join(target.compiled),
        "NEED_KB": str(_GROWTH * size // len(pythons) // 1024),
    }
    _write(root / "bundle.env", "".join(f"{k}='{v}'\n" for k, v in settings.items()))
    _write(root / "bundle.json", json.dumps(settings, indent=1) + "\n")
    sums = []
    for path in sorted(root.rglob("*")):
        if path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            sums.append(f"{digest}  {path.relative_to(root).as_posix()}\n")
    _write(root / "SHA256SUMS", "".join(sums))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _write_tar(root: Path, out: Path) -> None:
    with replace_file(out) as file, tarfile.open(fileobj=file, mode="w") as archive:
        archive.add(root, root.name, filter=_anonymous)


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Nobody's name and no time in it, so that the same content gives the same bytes."""
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    info.mtime = 0
    return info
