"""The JSON beside every engine: what it was built from and for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any

from edge_ser.errors import BackendError

__all__ = ["Sidecar", "TensorRecord", "read_sidecar", "sidecar_path"]

FORMAT = 1
_TYPES: dict[type | UnionType, tuple[str, ...]] = {
    str: (
        "backend", "version", "pack", "target", "onnx_sha256", "network_sha256", "precision",
        "base", "engine_sha256", "built_at", "edge_ser",
    ),
    str | None: ("gpu", "driver", "cuda", "l4t"),
    dict: ("settings", "report"),
    list: ("tensors", "compute_capabilities"),
    bool: ("automatic",),
}  # fmt: skip


@dataclass(frozen=True)
class TensorRecord:
    """One input or output of an engine.

    Attributes:
        mode: ``input`` or ``output``.
        dtype: ``float32``, ``float16``, ``int8`` or ``uint8``.
    """

    name: str
    mode: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Sidecar:
    """Origin and destination of one engine file.

    Attributes:
        backend: product that built it, ``tensorrt`` or ``tensorrt-rtx``.
        version: of that product.
        compute_capabilities: GPUs that it was built for, ``("8.6", "12.0")``.
        gpu: name of the GPU it was built on; None if it was built without one.
        driver: version of that machine's NVIDIA driver, if it told.
        cuda: highest CUDA version that this driver knows.
        l4t: of that machine, if it is a Jetson.
        pack: ``id@version``.
        target: name of the pack's target it was built from.
        onnx_sha256: of that target's file.
        network_sha256: of the ONNX that the parser saw, which may be its FP16 form.
        precision: ``int8``, ``fp16`` or ``fp32``.
        base: precision of everything that is not INT8.
        tensors: inputs and outputs.
        settings: flags of the build.
        report: layers and their precisions.
        engine_sha256: of the engine file.
        engine_bytes: its size.
        automatic: whether ``--precision auto`` chose it.
        built_at: UTC, ISO 8601.
        edge_ser: version that built it.
    """

    backend: str
    version: str
    compute_capabilities: tuple[str, ...]
    gpu: str | None
    driver: str | None
    cuda: str | None
    l4t: str | None
    pack: str
    target: str
    onnx_sha256: str
    network_sha256: str
    precision: str
    base: str
    tensors: tuple[TensorRecord, ...]
    settings: Mapping[str, Any]
    report: Mapping[str, Any]
    engine_sha256: str
    engine_bytes: int
    automatic: bool
    built_at: str
    edge_ser: str
    format: int = field(default=FORMAT)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def to_json(self) -> str:
        """As it is written."""
        return json.dumps(self.to_dict(), indent=1) + "\n"


def sidecar_path(engine: Path) -> Path:
    """Where the sidecar of ``engine`` stands."""
    return engine.with_name(engine.name + ".json")


def read_sidecar(engine: Path) -> Sidecar:
    """The sidecar of the engine file ``engine``.

    Raises:
        BackendError: it is missing, broken, or of a newer format.
    """
    path = sidecar_path(engine)
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BackendError(
            f"{engine} has no sidecar {path.name}, so nobody knows what it was built for; "
            "build it again with: edge-ser build"
        ) from None
    except OSError as error:
        raise BackendError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise BackendError(f"{path} is not valid JSON; build the engine again") from error
    return parse_sidecar(values, path)


def parse_sidecar(values: Any, where: Path) -> Sidecar:
    """The sidecar in parsed JSON, every key known and every type right.

    Raises:
        BackendError: something is missing, unknown or of the wrong type.
    """
    if not isinstance(values, dict) or not isinstance(values.get("format"), int):
        raise BackendError(f"{where} is no engine sidecar; build the engine again")
    if values["format"] > FORMAT:
        raise BackendError(
            f"{where} has format {values['format']}, this edge-ser reads up to {FORMAT}; "
            "build the engine again"
        )
    known = {item.name for item in fields(Sidecar)}
    odd = sorted(set(values) ^ known)
    if odd:
        raise BackendError(f"{where}: key {odd[0]!r} is unknown or missing; build the engine again")
    try:
        for kind, keys in _TYPES.items():
            if not all(isinstance(values[key], kind) for key in keys):
                raise TypeError
        if type(values["engine_bytes"]) is not int:
            raise TypeError
        tensors = tuple(
            TensorRecord(
                str(item["name"]), str(item["mode"]), str(item["dtype"]), tuple(item["shape"])
            )
            for item in values["tensors"]
        )
        capabilities = tuple(str(item) for item in values["compute_capabilities"])
        return Sidecar(**{**values, "tensors": tensors, "compute_capabilities": capabilities})
    except (TypeError, KeyError) as error:
        raise BackendError(
            f"{where}: a value has the wrong type; build the engine again"
        ) from error
