"""The wheel: one top-level name, typed, with packs and samples, installable by itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("edge_ser", "runtime", "converters", "calibration")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that no ``build`` folder appears in the checkout."""
    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
    for folder in SOURCES:
        shutil.copytree(ROOT / folder, copy / folder, ignore=unwanted)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(out), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode and "setuptools" in done.stderr and "No matching" in done.stderr:
        pytest.skip("no package registry to fetch setuptools from")
    assert done.returncode == 0, done.stderr
    (path,) = out.glob("*.whl")
    return path


def names(wheel: Path) -> set[PurePosixPath]:
    with zipfile.ZipFile(wheel) as archive:
        return {PurePosixPath(name) for name in archive.namelist()}


def test_the_only_top_level_name_is_edge_ser(wheel: Path) -> None:
    tops = {name.parts[0] for name in names(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"edge_ser"}


def test_every_module_of_the_checkout_is_inside(wheel: Path) -> None:
    expected = set()
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*.py"):
            relative = PurePosixPath(path.relative_to(ROOT).as_posix())
            expected.add(relative if folder == "edge_ser" else PurePosixPath("edge_ser", relative))
    missing = expected - names(wheel)
    assert not missing, sorted(map(str, missing))[:5]


def test_the_files_that_are_no_code_are_inside(wheel: Path) -> None:
    inside = {str(name) for name in names(wheel)}
    assert "edge_ser/py.typed" in inside
    for kind in ("packs", "samples"):
        for path in (ROOT / "edge_ser" / kind).rglob("*"):
            if path.is_file():
                assert path.relative_to(ROOT).as_posix() in inside
    assert not [name for name in inside if "test" in PurePosixPath(name).parts[0]]


def test_it_installs_by_itself(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    bin_folder = tmp_path / "venv" / "bin"
    subprocess.run(
        [bin_folder / "pip", "install", "-q", "--no-deps", "--no-index", wheel], check=True
    )
    done = subprocess.run(
        [bin_folder / "edge-ser", "--version"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("edge-ser ")
    done = subprocess.run(
        [bin_folder / "python", "-c", "import edge_ser; print(edge_ser.__file__)"],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.startswith(str(tmp_path))
