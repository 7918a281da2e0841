"""The mel filter bank as two small matrix products instead of one large one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_ser.frontend.spec import LogMelSpec, mel_filterbank

__all__ = ["Bands"]

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]


class _Block(NamedTuple):
    """Neighbouring bands, and the bins that any of them listens to."""

    bands: slice
    bins: slice
    weights: FloatArray


class Bands:
    """The filter bank, cut in two where that leaves least to multiply.

    Low bands are narrow and there are many of them, high bands are wide; so most zeros of the
    whole bank are never touched.
    """

    def __init__(self, spec: LogMelSpec) -> None:
        filters = mel_filterbank(spec)
        heard = filters > 0
        n_mels, n_bins = filters.shape
        deaf = ~heard.any(axis=1)  # a band between two bins hears nothing
        first = np.where(deaf, n_bins, heard.argmax(axis=1))
        last = np.where(deaf, 0, n_bins - heard[:, ::-1].argmax(axis=1))

        def block(low: int, high: int) -> _Block:
            begin = min(int(first[low:high].min()), n_bins - 1)
            end = max(int(last[low:high].max()), begin + 1)
            return _Block(slice(low, high), slice(begin, end), filters[low:high, begin:end].copy())

        ways = [[block(0, n_mels)]]
        ways += [[block(0, cut), block(cut, n_mels)] for cut in range(1, n_mels)]
        self._blocks = min(ways, key=lambda way: sum(part.weights.size for part in way))

    def products(
        self, spectral: FloatArray, power: FloatArray
    ) -> list[tuple[FloatArray, FloatArray, FloatArray]]:
        """What to multiply and where the results belong: ``matmul(a, b, out)`` for each.

        Args:
            spectral: ``(..., bins, frames) float32`` power of every bin.
            power: ``(..., n_mels, frames) float32``.
        """
        return [
            (block.weights, spectral[..., block.bins, :], power[..., block.bands, :])
            for block in self._blocks
        ]
