"""What only the running system can say: the user, the libraries, the devices, the golden vectors.

The answers are plain JSON, so that they can be written into a support bundle and examined
elsewhere.
"""

from __future__ import annotations

import contextlib
import grp
import importlib.metadata
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from edge_ser.engines import EngineCache, cache_folder, find_host, load_bindings
from edge_ser.engines.check import check_host, check_pack, read_whole
from edge_ser.engines.sidecar import read_sidecar
from edge_ser.errors import EdgeSerError, InputError
from edge_ser.pack import Pack, open_pack
from edge_ser.runtime.golden import golden_runs
from edge_ser.store.selection import read_selection, store_folder
from edge_ser.store.store import PackStore

__all__ = ["ANSWERS", "Answers", "ask", "read_answers"]

ANSWERS = "answers.json"
_PACKAGES = (
    "edge-ser", "numpy", "onnxruntime", "onnxruntime-gpu", "sounddevice", "soundfile", "soxr",
    "starlette", "uvicorn", "websockets", "paho-mqtt", "prometheus-client", "cryptography",
    "pycuda", "tensorrt", "tensorrt-rtx-cu12", "onnx", "filelock", "platformdirs",
)  # fmt: skip


@dataclass(frozen=True)
class Answers:
    """Everything that was asked.

    Attributes:
        arch: of the processor, as ``uname -m`` says.
        python: its version.
        virtual: whether Python runs in a virtual environment.
        root_user: whether the user is root.
        groups: names of the user's groups.
        packages: versions of what is installed.
        gpu: as :class:`~edge_ser.engines.Host`.
        bindings: by TensorRT product, ``version`` or ``problem``.
        microphones: ``{"rate_hz", "channels", "usb_id"}`` of each, without names.
        microphone_problem: why they cannot be listed.
        pack: ``name``, ``installed`` and, if anything, ``problem``.
        store: ``damaged`` packs, ``on_trial``, ``signed``, ``free_mb``, ``problem``.
        engines: ``file``, ``backend``, ``precision`` and ``problem`` of each in the cache.
        engine_cache: ``free_mb``, ``writable`` and ``problem`` of the cache folder.
        golden: results of the golden vectors by backend, or a ``problem``.
    """

    arch: str
    python: str
    virtual: bool = True
    root_user: bool = False
    groups: tuple[str, ...] = ()
    packages: dict[str, str] = field(default_factory=dict)
    gpu: dict[str, Any] = field(default_factory=dict)
    bindings: dict[str, dict[str, str]] = field(default_factory=dict)
    microphones: tuple[dict[str, Any], ...] = ()
    microphone_problem: str | None = None
    pack: dict[str, Any] = field(default_factory=dict)
    store: dict[str, Any] = field(default_factory=dict)
    engines: tuple[dict[str, Any], ...] = ()
    engine_cache: dict[str, Any] = field(default_factory=dict)
    golden: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def read_answers(path: Path) -> Answers:
    """The answers in a recorded tree.

    Raises:
        InputError: they are not there, or are none.
    """
    try:
        values = json.loads(path.read_bytes())
        known = {item.name for item in fields(Answers)}
        if not set(values) <= known:
            raise TypeError(f"unknown key {sorted(set(values) - known)[0]!r}")
        for name in ("groups", "microphones", "engines"):
            values[name] = tuple(values.get(name, ()))
        return Answers(**values)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); a recorded tree is made by: "
            "edge-ser doctor --support FILE.tar.gz"
        ) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} holds no answers of a doctor ({error})") from error


def ask(pack: Path | str | None = None) -> Answers:
    """Ask this machine; takes a second or two, for models are loaded and run.

    Args:
        pack: to examine, None for the one in use.
    """
    opened, problem = _tried(lambda: open_pack(pack))
    if opened is not None:
        problem = _tried(opened.verify)[1]
    host = find_host()
    bindings = {name: _bindings(name) for name in ("tensorrt", "tensorrt-rtx")}
    microphones, microphone_problem = _tried(_microphones)
    return Answers(
        arch=platform.machine(),
        python=platform.python_version(),
        virtual=sys.prefix != sys.base_prefix,
        root_user=os.geteuid() == 0,
        groups=_groups(),
        packages=_versions(),
        gpu=asdict(host),
        bindings=bindings,
        microphones=microphones or (),
        microphone_problem=microphone_problem,
        pack={
            "name": None if opened is None else opened.manifest.name,
            "installed": opened is not None and opened.path.parent == store_folder(),
            "problem": problem,
        },
        store=_store(),
        engines=() if opened is None else _engines(opened, bindings, host),
        engine_cache=_engine_cache(),
        golden={} if opened is None or problem else _golden(opened, bindings, host.has_gpu),
    )


def _tried(call: Callable[[], Any]) -> tuple[Any, str | None]:
    """The result, or None and what was wrong."""
    try:
        return call(), None
    except EdgeSerError as error:
        return None, str(error)


def _groups() -> tuple[str, ...]:
    names = set()
    for number in {*os.getgroups(), os.getegid()}:
        with contextlib.suppress(KeyError):
            names.add(grp.getgrgid(number).gr_name)
    return tuple(sorted(names))


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _bindings(name: str) -> dict[str, str]:
    loaded, problem = _tried(lambda: load_bindings(name))
    return {"problem": problem or ""} if loaded is None else {"version": loaded.version}


def _microphones() -> tuple[dict[str, Any], ...]:
    from edge_ser.runtime.devices import devices

    return tuple(
        {"rate_hz": it.rate_hz, "channels": it.channels, "usb_id": it.usb_id} for it in devices()
    )


def _store() -> dict[str, Any]:
    store = PackStore()
    selection, problem = _tried(lambda: read_selection(store.folder))
    return {
        "damaged": [item.name for item in store.installed() if item.manifest is None],
        "on_trial": selection is not None and selection.attempts is not None,
        "free_mb": _free_mb(store.folder),
        "problem": problem,
    }


def _engine_cache() -> dict[str, Any]:
    folder, problem = _tried(cache_folder)
    if folder is None:
        return {"problem": problem}
    nearest = _nearest(folder)
    return {"free_mb": _free_mb(folder), "writable": os.access(nearest, os.W_OK), "problem": None}


def _engines(pack: Pack, bindings: dict[str, dict[str, str]], host: Any) -> tuple[Any, ...]:
    folder, _ = _tried(cache_folder)
    rows = []
    for path in [] if folder is None else sorted(EngineCache(folder).folder.glob("*.engine")):
        row: dict[str, Any] = {"file": path.name, "backend": None, "precision": None}
        try:
            sidecar = read_sidecar(path)
            row |= {"backend": sidecar.backend, "precision": sidecar.precision}
            version = bindings.get(sidecar.backend, {}).get("version", "none")
            read_whole(path, sidecar)
            check_pack(path, sidecar, pack)
            check_host(path, sidecar, sidecar.backend, version, host)
            row["problem"] = None
        except EdgeSerError as error:
            row["problem"] = str(error)
        rows.append(row)
    return tuple(rows)


def _golden(pack: Pack, bindings: dict[str, dict[str, str]], has_gpu: bool) -> dict[str, Any]:
    """Every backend that is found here; one that the pack has no model for is none of them."""
    made_for = {name for target in pack.manifest.targets.values() for name in target.backends}
    found = ["onnxruntime"]
    if has_gpu:
        found += [name for name, it in bindings.items() if "version" in it]
    results: dict[str, Any] = {}
    for backend in found:
        if backend in made_for:
            runs, problem = _tried(lambda name=backend: golden_runs(pack, name))  # type: ignore[misc]
            results[backend] = {
                "problem": problem,
                "runs": [run.to_dict() for run in runs or ()],
            }
    return results


def _nearest(folder: Path) -> Path:
    """``folder`` or the nearest one above it that is there."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _free_mb(folder: Path) -> float | None:
    try:
        return round(shutil.disk_usage(_nearest(folder)).free / 1e6, 1)
    except OSError:
        return None
