"""The wheels of a bundle, fetched by pip for another machine than this one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import edge_ser
from edge_ser.bundle.targets import BundleTarget
from edge_ser.errors import InputError

__all__ = ["UNNEEDED", "fetch", "own_wheel"]

UNNEEDED = ("coloredlogs", "humanfriendly", "mpmath", "sympy")
"""What older ONNX Runtimes ask for and need for converting only, 60 MB in all."""

_CHECKOUT = ("edge_ser", "runtime", "converters", "calibration")
_FILES = ("pyproject.toml", "README.md", "LICENSE")


def _is_checkout(folder: Path) -> bool:
    return all((folder / name).exists() for name in (*_CHECKOUT, *_FILES))


def own_wheel(folder: Path, root: Path | None = None) -> Path:
    """Build the wheel of a checkout into ``folder``, without touching the checkout.

    Args:
        root: of the checkout, default the one that runs this or the folder one stands in.

    Raises:
        InputError: edge-ser runs from an installation, or the wheel cannot be built.
    """
    places = [root] if root else [Path(edge_ser.__file__).resolve().parent.parent, Path.cwd()]
    root = next((place for place in places if _is_checkout(place)), None)
    if root is None:
        raise InputError(
            "edge-ser runs from an installation here, which cannot make its own wheel; name it "
            "with --wheel edge_ser-VERSION-py3-none-any.whl, or run from a checkout"
        )
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary)
        for name in _CHECKOUT:
            shutil.copytree(
                root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
            )
        for name in _FILES:
            shutil.copy(root / name, copy)
        _pip("wheel", "--no-deps", "-w", str(folder), str(copy))
    return next(folder.glob("edge_ser-*.whl"))


def fetch(target: BundleTarget, python: str, wheel: Path, folder: Path) -> list[str]:
    """Put the wheels of ``target`` and ``python`` into ``folder``.

    Args:
        wheel: of edge-ser itself.

    Returns:
        ``name==version`` of each, sorted, for ``pip install --no-deps``.

    Raises:
        InputError: pip finds no wheel for that machine, or there is no registry.
    """
    with tempfile.TemporaryDirectory() as temporary:
        found = Path(temporary)
        for package in target.pure:
            _pip("wheel", "--no-deps", "-w", temporary, package)
        _pip(
            "download",
            *_for(target, python),
            f"--find-links={temporary}",
            "-d",
            temporary,
            f"{wheel}[{','.join(target.extras)}]",
            *target.build_needs,
        )
        lines = []
        for path in sorted(found.glob("*.whl")):
            name, version = path.name.split("-")[:2]
            name = re.sub(r"[-_.]+", "-", name).lower()
            if name in UNNEEDED:
                continue
            lines.append(f"{name}=={version}")
            shutil.copy(path, folder)
    return lines


def fetch_pip(folder: Path) -> None:
    """The wheel of pip itself: the board may have none, and its Python no ``ensurepip``."""
    _pip("download", "--no-deps", "--only-binary=:all:", "-d", str(folder), "pip")


def fetch_source(package: str, folder: Path) -> None:
    """The source of ``package``, to be compiled on the board."""
    _pip("download", "--no-deps", f"--no-binary={package}", "-d", str(folder), package)


def _for(target: BundleTarget, python: str) -> list[str]:
    tag = "cp" + python.replace(".", "")
    return [
        "--only-binary=:all:",
        *(f"--platform={name}" for name in target.platforms),
        f"--python-version={python}",
        "--implementation=cp",
        *(f"--abi={abi}" for abi in (tag, "abi3", "none")),
    ]


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", arguments[0], "--quiet", *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        words = errors or done.stderr.strip().splitlines() or ["no word of why"]
        raise InputError(f"pip {arguments[0]} failed: {words[-1]}")
