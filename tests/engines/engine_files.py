"""Engine files and sidecars that pretend to come from an Orin or a kiosk."""

from __future__ import annotations

import hashlib
from typing import Any

from edge_ser.engines import Host, Sidecar, TensorRecord
from edge_ser.pack import Pack

__all__ = ["KIOSK", "ORIN", "plan_of", "sidecar_of"]

ORIN = Host("8.7", "Orin", "540.4.0", "36.4.3", cuda="12.6")
KIOSK = Host("8.6", "RTX 3060", "570.86.15", None, cuda="12.8")


def plan_of(payload: bytes, backend: str = "tensorrt") -> bytes:
    """A plan with the header of ``backend`` around ``payload``."""
    if backend == "tensorrt-rtx":
        size = 64 + len(payload)
        return b"vtrt" + bytes(12) + size.to_bytes(8, "little") + bytes(40) + payload
    return b"ftrt" + payload


def sidecar_of(pack: Pack, content: bytes, **changes: Any) -> Sidecar:
    """What a builder on an Orin would write beside ``content``."""
    target = pack.manifest.targets["tensorrt"]
    shapes = [TensorRecord("mel", "input", "float32", (1, 64, 8))]
    values: dict[str, Any] = {
        "backend": "tensorrt", "version": "10.3.0", "compute_capabilities": ("8.7",),
        "gpu": "Orin", "driver": "540.4.0", "cuda": "12.6", "l4t": "36.4.3", "pack": pack.manifest.name,
        "target": "tensorrt", "onnx_sha256": pack.manifest.files[target.file].sha256,
        "network_sha256": "0" * 64, "precision": "int8", "base": "fp16",
        "tensors": tuple(shapes), "settings": {}, "report": {},
        "engine_sha256": hashlib.sha256(content).hexdigest(), "engine_bytes": len(content),
        "automatic": False, "built_at": "2026-01-01T00:00:00.000+00:00", "edge_ser": "0",
    }  # fmt: skip
    return Sidecar(**{**values, **changes})
