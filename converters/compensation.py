"""Rounding of weights in which later weights make up for the errors of earlier ones.

Rounded one by one, the weights of an output err independently. Here the error of each is handed on
to those not rounded yet, as the inputs' covariance says that they can stand in for it (optimal
brain quantization: Frantar and Alistarh, NeurIPS 2022; column by column for all outputs at once:
Frantar et al., GPTQ, ICLR 2023, algorithm 1). Nothing is paid for it at run time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_ser.converters.forms import RowGrid

__all__ = ["compensated"]

_DAMPING = 0.01  # of the mean variance, added to every input's: what never varied can be anything


def compensated(
    weight: NDArray[np.float32], covariance: NDArray[np.float64], grid: RowGrid
) -> NDArray[np.float32]:
    """``weight`` on ``grid``, the largest of each output as it was.

    Only the deviation of the outputs is kept small; their mean is the bias's to correct.

    Args:
        weight: ``(c_out, c_in / groups, kernel)``.
        covariance: of the inputs of one output, ``(groups, n, n)`` with
            ``n = c_in / groups * kernel`` in the order of ``weight``.
        grid: of each output.
    """
    c_out = len(weight)
    rows = weight.reshape(c_out, -1).astype(np.float64)
    peak = np.abs(rows).argmax(axis=1)
    scale = grid.scales.astype(np.float64)
    per_group = c_out // len(covariance)
    for group, inputs in enumerate(covariance):
        own = slice(group * per_group, (group + 1) * per_group)
        most = (grid.peak[own], grid.others[own])
        _round_rows(rows[own], scale[own], peak[own], inputs, *most)
    return rows.reshape(weight.shape).astype(np.float32)


def _round_rows(
    rows: NDArray[np.float64],
    scale: NDArray[np.float64],
    peak: NDArray[np.int64],
    covariance: NDArray[np.float64],
    largest: NDArray[np.int64],
    others: NDArray[np.int64],
) -> None:
    """Round ``rows`` in place, the inputs that vary most first."""
    n = rows.shape[1]
    variance = np.diag(covariance)
    damped = covariance + np.eye(n) * max(_DAMPING * float(variance.mean()), 1e-12)
    order = np.argsort(-variance, kind="stable")
    # The upper Cholesky factor of the inverse: row i is how the inputs after i stand in for i.
    inverse = np.linalg.inv(damped[np.ix_(order, order)])
    factor = np.linalg.cholesky((inverse + inverse.T) / 2).T
    left = rows[:, order]
    place_of = np.empty(n, np.int64)
    place_of[order] = np.arange(n)
    peak_place, sign = place_of[peak], np.sign(rows[np.arange(len(rows)), peak])
    for place in range(n):
        stored = np.clip(np.round(left[:, place] / scale), -others, others)
        # The largest weight of each output stays the largest, for it makes the scale.
        stored = np.where(peak_place == place, sign * largest, stored)
        error = (left[:, place] - stored * scale) / factor[place, place]
        left[:, place] = stored * scale
        left[:, place + 1 :] -= np.outer(error, factor[place, place + 1 :])
    rows[:, order] = left
