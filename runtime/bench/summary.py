"""Numbers of a series of durations, as every part of a benchmark states them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["TAIL", "milliseconds"]

TAIL = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9}
"""Percentiles by their name in JSON."""


def milliseconds(
    durations_ns: NDArray[np.int64], names: tuple[str, ...] = (*TAIL, "max")
) -> dict[str, float]:
    """Percentiles of ``durations_ns`` in milliseconds.

    Each is a duration that was really measured, the smallest one that at least that share
    of all does not exceed (never a value interpolated between two).
    """
    if len(durations_ns) == 0:
        raise ValueError("no durations to summarise")
    values = {
        name: float(np.percentile(durations_ns, share, method="inverted_cdf"))
        for name, share in TAIL.items()
        if name in names
    }
    if "max" in names:
        values["max"] = float(durations_ns.max())
    return {name: round(value / 1e6, 4) for name, value in values.items()}
