"""Log-mel of the same words from a shorter or a longer vocal tract."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_ser.frontend import LogMelSpec
from edge_ser.frontend.spec import mel_centres_hz

__all__ = ["VocalTractWarp"]


class VocalTractWarp:
    """Stretches the frequency axis of log-mel by a factor that is drawn anew each time.

    Vocal tract length perturbation (Jaitly and Hinton, ICML workshop 2013), done on the bands:
    band ``i`` takes the value at ``factor`` times its centre frequency. A student is to hear the
    same emotion in both.

    Args:
        spec: the front end that made the log-mel.
        spread: factors are drawn evenly from ``1 - spread`` to ``1 + spread``.
    """

    def __init__(self, spec: LogMelSpec, spread: float) -> None:
        if not 0.0 <= spread < 1.0:
            raise ValueError(f"need 0 <= spread < 1, got {spread}")
        self.spread = spread
        self._centres_hz = mel_centres_hz(spec)

    def __call__(self, mel: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """``mel`` ``(n_mels, frames)`` by another speaker; what lies outside repeats the edge."""
        if not self.spread:
            return mel
        return self.by(mel, 1.0 + self.spread * float(rng.uniform(-1.0, 1.0)))

    def by(self, mel: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
        """``mel`` ``(n_mels, frames)`` with all of it at ``1 / factor`` of its frequency."""
        places = np.arange(len(mel), dtype=np.float64)
        source = np.interp(factor * self._centres_hz, self._centres_hz, places)
        below = np.minimum(source.astype(np.int64), len(mel) - 2)
        share = (source - below).astype(np.float32)[:, None]
        warped: NDArray[np.float32] = mel[below] * (1 - share) + mel[below + 1] * share
        return warped
