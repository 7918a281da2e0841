"""Findings on the machine, its Python and its disks."""

from __future__ import annotations

from collections.abc import Iterator

from edge_ser.runtime.doctor.answers import Answers
from edge_ser.runtime.doctor.check import Check
from edge_ser.runtime.doctor.tree import Tree

__all__ = ["disk_checks", "machine_checks", "python_checks"]

_OLDEST, _NEWEST = (3, 10), (3, 13)
_LEAST_FREE_MB = 300.0


def machine_checks(tree: Tree, answers: Answers) -> Iterator[Check]:
    """Board, processor and system."""
    facts = [tree.model or "unknown board", answers.arch, tree.system or "unknown system"]
    if tree.kernel:
        facts.append(f"kernel {tree.kernel}")
    if answers.arch in ("aarch64", "x86_64"):
        yield Check("machine", "ok", ", ".join(facts))
    else:
        yield Check(
            "machine", "fail", ", ".join(facts),
            "edge-ser needs a 64-bit system (aarch64 or x86_64); ONNX Runtime has no wheels for "
            "others. Install the 64-bit image of this board's system",
        )  # fmt: skip


def python_checks(_: Tree, answers: Answers) -> Iterator[Check]:
    """Python and the packages that the model needs."""
    version = tuple(int(part) for part in answers.python.split(".")[:2])
    if not _OLDEST <= version <= _NEWEST:
        yield Check(
            "python", "fail", f"Python {answers.python}",
            "use Python 3.10 to 3.13: apt install python3.10-venv, or a build of your own",
        )  # fmt: skip
    else:
        yield Check("python", "ok", f"Python {answers.python}")
    known = ", ".join(f"{name} {version}" for name, version in answers.packages.items())
    missing = [name for name in ("numpy", "onnxruntime") if name not in answers.packages]
    if "onnxruntime" in missing and "onnxruntime-gpu" in answers.packages:
        missing.remove("onnxruntime")
    if missing:
        yield Check(
            "packages", "fail", f"{' and '.join(missing)} missing; there are {known or 'none'}",
            "pip install edge-ser, or run the bundle's install.sh again",
        )  # fmt: skip
    elif {"onnxruntime", "onnxruntime-gpu"} <= set(answers.packages):
        yield Check(
            "packages", "warn", f"onnxruntime and onnxruntime-gpu hide each other; {known}",
            "pip uninstall onnxruntime onnxruntime-gpu && pip install onnxruntime",
        )  # fmt: skip
    else:
        yield Check("packages", "ok", known)


def disk_checks(tree: Tree, answers: Answers) -> Iterator[Check]:
    """Room for packs and engines."""
    cache = answers.engine_cache
    for name, free in (
        ("disk of packs", answers.store.get("free_mb")),
        ("disk of engines", cache.get("free_mb")),
    ):
        if free is None:
            continue
        if free < _LEAST_FREE_MB:
            yield Check(
                name, "warn", f"{free:.0f} MB free",
                "make room: edge-ser pack remove, sudo apt clean",
            )  # fmt: skip
        else:
            yield Check(name, "ok", f"{free:.0f} MB free")
    if tree.has_nvidia and cache.get("writable") is False:
        yield Check(
            "engine cache", "fail", "the folder of engines cannot be written to, so every start "
            "would build again",
            "set EDGE_SER_ENGINES to a folder of this user",
        )  # fmt: skip
