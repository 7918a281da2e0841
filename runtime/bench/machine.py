"""What a result was measured on, without anything that names its owner."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

__all__ = ["fingerprint", "resident_mb"]

_VECTOR_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm", "sve")


def fingerprint(root: Path = Path("/")) -> dict[str, Any]:
    """Processor, memory, system and library versions; what is unknown is left out.

    ``id`` is a hash of all that does not change from run to run (hardware, system and
    versions), so that results of one machine can be told from those of another.
    """
    info = _first_lines(root / "proc/cpuinfo")
    flags = set(info.get("flags", info.get("Features", "")).split())
    memory = _first_lines(root / "proc/meminfo").get("MemTotal", "")
    facts: dict[str, Any] = {
        "board": _text(root / "proc/device-tree/model"),
        "cpu": info.get("model name") or info.get("Hardware") or info.get("CPU part"),
        "arch": platform.machine(),
        "cores": os.cpu_count(),
        "vector_flags": [flag for flag in _VECTOR_FLAGS if flag in flags],
        "memory_mb": round(int(memory.split()[0]) / 1024) if memory else None,
        "system": platform.system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "numpy": _version("numpy"),
        "onnxruntime": _version("onnxruntime"),
    }
    facts = {key: value for key, value in facts.items() if value not in (None, "")}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    now: dict[str, Any] = {"id": digest[:12]}
    if hasattr(os, "sched_getaffinity"):
        now["usable_cores"] = len(os.sched_getaffinity(0))
    load = _text(root / "proc/loadavg")
    if load:
        now["load_1min"] = float(load.split()[0])
    return facts | now


def resident_mb(pid: int | str = "self", root: Path = Path("/")) -> float | None:
    """Resident memory of a process in MB (10^6 bytes); None where the system does not say."""
    value = _first_lines(root / "proc" / str(pid) / "status").get("VmRSS")
    return None if value is None else round(int(value.split()[0]) * 1024 / 1e6, 3)


def _first_lines(path: Path) -> dict[str, str]:
    """``key: value`` lines of a file of /proc, the first of every key."""
    lines: dict[str, str] = {}
    for line in _text(path).splitlines():
        key, colon, value = line.partition(":")
        if colon:
            lines.setdefault(key.strip(), value.strip())
    return lines


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\0 \n")
    except OSError:
        return ""


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
