"""A bundle for the machine that runs the tests; needs a package registry once."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_ser.bundle.make import make_bundle
from edge_ser.bundle.targets import BundleTarget, target_named
from edge_ser.bundle.wheels import own_wheel
from edge_ser.errors import InputError
from edge_ser.pack import bundled_packs, open_pack

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
Install = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def target() -> BundleTarget:
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("no target for this machine")
    return target_named("x86-cpu" if platform.machine() == "x86_64" else "arm64-cpu")


@pytest.fixture(scope="session")
def bundle(target: BundleTarget, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked bundle; read only."""
    folder = tmp_path_factory.mktemp("bundle")
    try:
        made = make_bundle(
            target,
            open_pack(bundled_packs()[0]),
            folder / "bundle.tar",
            pythons=(HERE,),
            wheel=own_wheel(folder, Path(__file__).resolve().parents[2]),
        )
    except InputError as error:
        if "pip" in str(error):
            pytest.skip(f"needs a package registry: {error}")
        raise
    with tarfile.open(made.path) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (root,) = (folder / "unpacked").iterdir()
    return root


@pytest.fixture
def own(bundle: Path, tmp_path: Path) -> Path:
    """A copy whose files may be changed; the wheels are links."""
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy, copy_function=os.link)
    return copy


@pytest.fixture(scope="session")
def cut_off() -> list[str]:
    """A prefix of commands that takes the network away."""
    command = ["unshare", "-rn"] if os.geteuid() else ["unshare", "-n"]
    done = subprocess.run([*command, "true"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("needs to make a network namespace")
    return command


@pytest.fixture
def install(cut_off: list[str], tmp_path: Path) -> Install:
    """Runs an ``install.sh`` with no network and this very Python."""

    def run(script: Path, *words: object, python: bool = True, **how: object):
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8",
            "EDGE_SER_UNITS": str(tmp_path / "units"),
        }  # fmt: skip
        environment |= how.pop("env", {})  # type: ignore[arg-type, assignment]
        wanted = ["--python", sys._base_executable] if python else []  # type: ignore[attr-defined]
        return subprocess.run(
            [*cut_off, str(script), *map(str, words), *wanted],
            capture_output=True, text=True, timeout=600, env=environment, **how,
        )  # fmt: skip

    return run
