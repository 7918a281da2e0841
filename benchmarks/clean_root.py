"""A clean Debian in a folder, to install into."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_ser.errors import InputError

__all__ = ["SUITE", "edge_ser", "make_debian"]

SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"


def make_debian(root: Path, arch: str, packages: Sequence[str]) -> None:
    """Debian 12 in ``root``, unless there is one.

    Args:
        arch: as Debian calls it, ``amd64``.
        packages: beside the least that there must be.

    Raises:
        InputError: debootstrap is missing or fails.
    """
    if (root / "usr/bin/python3").exists():
        return
    if shutil.which("debootstrap") is None:
        raise InputError("no debootstrap; apt install debootstrap")
    print(f"making a Debian {SUITE} for {arch} in {root}", file=sys.stderr)
    command = ["debootstrap", f"--arch={arch}", "--variant=minbase"]
    done = subprocess.run(
        [*command, f"--include={','.join(packages)}", SUITE, str(root), MIRROR],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise InputError(f"debootstrap failed: {(done.stdout + done.stderr).strip()[-300:]}")


def edge_ser(*words: str) -> str:
    """What ``edge-ser`` of this checkout says.

    Raises:
        InputError: it fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", "edge_ser", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise InputError(f"edge-ser {words[0]}: {done.stderr.strip()[-300:]}")
    return done.stdout
