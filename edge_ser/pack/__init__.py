"""Model packs: the one thing that crosses from the converters to the runtime."""

from __future__ import annotations

from edge_ser.pack.manifest import (
    FORMAT,
    Calibration,
    FileRecord,
    Manifest,
    StateSpec,
    Target,
)
from edge_ser.pack.reader import Pack, bundled_packs, open_pack
from edge_ser.pack.writer import write_pack

__all__ = [
    "FORMAT",
    "Calibration",
    "FileRecord",
    "Manifest",
    "Pack",
    "StateSpec",
    "Target",
    "bundled_packs",
    "open_pack",
    "write_pack",
]
