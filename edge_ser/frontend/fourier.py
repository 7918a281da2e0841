"""Real transforms of a few short rows, without what numpy's public function adds to them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

__all__ = ["real_transform"]

_ONE = np.ones((), np.float32)
_IN_PLACE = np.lib.NumpyVersion(np.__version__) >= "2.0.0"  # numpy 1 transforms in double

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Transform = Callable[[NDArray[np.float32], NDArray[np.complex64]], Any]


def real_transform(n: int) -> Transform:
    """What writes the spectra of ``(rows, n) float32`` into ``(rows, n // 2 + 1) complex64``.

    ``np.fft.rfft`` looks at its arguments for longer than eight rows of 512 take (32 us against
    13 us here), so its inner function is called where this numpy has it, with the same result.
    """
    try:
        inner = importlib.import_module("numpy.fft._pocketfft_umath")
        ufunc = inner.rfft_n_even if n % 2 == 0 else inner.rfft_n_odd
        trial = np.zeros((1, n // 2 + 1), np.complex64)
        ufunc(np.ones((1, n), np.float32), _ONE, trial)
    except (ImportError, AttributeError, TypeError, ValueError):
        return _public
    return lambda rows, out: ufunc(rows, _ONE, out)


def _public(rows: NDArray[np.float32], out: NDArray[np.complex64]) -> None:
    if _IN_PLACE:
        np.fft.rfft(rows, out=out)  # type: ignore[arg-type]  # single precision is right
    else:
        out[...] = np.fft.rfft(rows)
