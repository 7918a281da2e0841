"""Model packs: the one thing that crosses from the converters to the runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_ser.pack.confidence import Calibration, CoveragePoint, HeardPoint, ReliabilityBin
from edge_ser.pack.manifest import (
    FORMAT,
    FileRecord,
    Manifest,
    StateSpec,
    Target,
    check_name,
    read_calibration,
)
from edge_ser.pack.reader import Pack, bundled_packs, open_pack

if TYPE_CHECKING:
    from edge_ser.pack.writer import check_place, write_pack

__all__ = [
    "FORMAT",
    "Calibration",
    "CoveragePoint",
    "FileRecord",
    "HeardPoint",
    "Manifest",
    "Pack",
    "ReliabilityBin",
    "StateSpec",
    "Target",
    "bundled_packs",
    "check_name",
    "check_place",
    "open_pack",
    "read_calibration",
    "write_pack",
]


def __getattr__(name: str) -> Any:
    """Import the writer when it is asked for: a runtime reads packs and starts sooner without."""
    if name in ("check_place", "write_pack"):
        from edge_ser.pack import writer

        return getattr(writer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
