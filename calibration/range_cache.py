"""Ranges that were measured once, kept by what they were measured on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_ser.calibration.ranges import RangeReport
from edge_ser.files import write_text

__all__ = ["cached_ranges", "ranges_key"]

_VERSION = 2
"""Of how ranges are measured; another one finds nothing in the cache."""


def ranges_key(
    model: onnx.ModelProto,
    mels: Iterable[NDArray[np.float32]],
    step_frames: int,
    method: str,
) -> str:
    """SHA-256 of all that ranges depend on: the model, what it heard, and the method."""
    digest = hashlib.sha256(f"{_VERSION} {method} {step_frames} ".encode())
    digest.update(model.SerializeToString(deterministic=True))
    for mel in mels:
        digest.update(f"{mel.shape}".encode())
        digest.update(np.ascontiguousarray(mel).tobytes())
    return digest.hexdigest()


def cached_ranges(
    folder: Path | None, key: str, measure: Callable[[], RangeReport]
) -> tuple[RangeReport, bool]:
    """The ranges kept in ``folder`` under ``key``, or else measured and kept there.

    A file that cannot be read is measured anew; a folder that cannot be written is an error.

    Args:
        folder: of the cache; None measures without one.

    Returns:
        The ranges and whether they came from the cache.

    Raises:
        InputError: the folder cannot be written.
    """
    if folder is None:
        return measure(), False
    path = folder / f"ranges-{key[:32]}.json"
    try:
        stored = json.loads(path.read_text())
        ranges = {name: (float(low), float(high)) for name, (low, high) in stored["ranges"].items()}
        means = {name: [float(v) for v in values] for name, values in stored["means"].items()}
        clips, steps = int(stored["clips"]), int(stored["steps"])
        kept = RangeReport(ranges, means, stored["method"], clips, steps)
        if stored["key"] == key:
            return kept, True
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    found = measure()
    write_text(path, json.dumps({"key": key, **asdict(found)}) + "\n")
    return found, False
