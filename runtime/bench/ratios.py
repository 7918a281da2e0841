"""How two ways to run compare over blocks that both did."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["block_ratios", "total_ratio"]

_RESAMPLES = 2000


def block_ratios(a: NDArray[Any], b: NDArray[Any], seed: int) -> dict[str, Any]:
    """The ratio ``b / a`` over blocks: median, quartiles and a 95 % interval of the median.

    Args:
        a, b: ``(blocks,)`` positive times of the two sides.
        seed: of the bootstrap.
    """
    ratios = np.asarray(b, float) / np.maximum(np.asarray(a, float), 1e-12)
    rng = np.random.default_rng(seed)
    n = len(ratios)  # one draw at a time: all at once take 16 kB a block
    medians = [np.median(ratios[rng.integers(n, size=n)]) for _ in range(_RESAMPLES)]
    low, high = np.percentile(medians, (2.5, 97.5))
    quartiles = np.percentile(ratios, (25, 75))
    return {
        "median": round(float(np.median(ratios)), 4),
        "interval_95": [round(float(low), 4), round(float(high), 4)],
        "quartiles": [round(float(value), 4) for value in quartiles],
    }


def total_ratio(a: NDArray[Any], b: NDArray[Any], seed: int) -> dict[str, Any]:
    """The ratio of the sums of ``b`` and ``a``, with a 95 % interval over blocks.

    Work that one side puts off falls into few blocks, which the median of them does not see;
    what else the machine did in some of them counts here, too.

    Args:
        a, b: ``(blocks,)`` positive times of the two sides.
        seed: of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    n = len(a)
    drawn = (rng.integers(n, size=n) for _ in range(_RESAMPLES))  # one at a time, as above
    ratios = [b[rows].sum() / max(a[rows].sum(), 1e-12) for rows in drawn]
    interval = np.percentile(ratios, (2.5, 97.5))
    return {
        "ratio": round(float(b.sum() / max(a.sum(), 1e-12)), 4),
        "interval_95": [round(float(value), 4) for value in interval],
    }
