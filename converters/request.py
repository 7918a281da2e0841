"""What to convert to what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_ser.corpora import Clip
from edge_ser.parity import Gates

__all__ = ["PRECISIONS", "Request"]

PRECISIONS = ("auto", "int8", "mixed", "fp32")
"""Of the model for CPUs; ``auto`` builds, gates and times them and takes the fastest."""


@dataclass(frozen=True)
class Request:
    """What to convert to what.

    Attributes:
        clips: labelled clips to calibrate and compare on, of the checkpoint's labels.
        targets: of ``cpu``, ``tensorrt``, ``tensorrt-float`` and ``float``.
        method: of finding ranges, see ``edge_ser.calibration.METHODS``.
        n_calibration: clips that ranges are measured on; others serve for the parity report.
        n_parity: clips that the forms are compared on.
        n_sensitivity: of those, how many every layer is tried on alone.
        precision: one of ``PRECISIONS``.
        cache: folder of measured ranges; None for none.
        judge: clips of the checkpoint's test speakers, for the accuracy of each form in the
            report; nothing is fitted on them.
    """

    pack_id: str
    version: str
    clips: Sequence[Clip]
    targets: tuple[str, ...] = ("cpu", "tensorrt", "float")
    method: str = "minmax"
    n_calibration: int = 96
    n_parity: int = 160
    n_sensitivity: int = 16
    seed: int = 0
    gates: Gates = field(default_factory=Gates)
    metrics: dict[str, Any] = field(default_factory=dict)
    precision: str = "auto"
    cache: Path | None = None
    judge: Sequence[Clip] = ()
