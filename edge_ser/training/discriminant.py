"""Linear discriminants: what a few hundred clips can fit without learning them by heart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import MissingExtra

__all__ = ["Discriminant", "linear_classifier"]


def linear_classifier(n_labels: int) -> Any:
    """Standardisation and linear discriminant analysis with shrinkage (Ledoit and Wolf 2004).

    Every label is taken as equally likely.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    try:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        raise MissingExtra("scikit-learn", "semantic", "fit linear discriminants") from None
    priors = np.full(n_labels, 1 / n_labels)
    return make_pipeline(
        StandardScaler(),
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=priors),
    )


@dataclass(frozen=True)
class Discriminant:
    """Fitted linear discriminants: ``weight @ (vector - mean) / scale + bias``."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def fit(cls, vectors: NDArray[np.float32], truth: NDArray[np.int64], n: int) -> Discriminant:
        """A :func:`linear_classifier` of ``(clips, values)`` and label indices below ``n``."""
        model = linear_classifier(n)
        model.fit(vectors, truth)
        weight, bias = model[1].coef_, model[1].intercept_
        if len(weight) == 1:  # two labels have one discriminant
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        return cls(model[0].mean_, model[0].scale_, weight, bias)

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Logits ``(clips, labels)``."""
        logits: NDArray[np.float64] = (vectors - self.mean) / self.scale @ self.weight.T + self.bias
        return logits

    def softened(self, temperature: float) -> Discriminant:
        """The same with all logits divided by ``temperature``."""
        return Discriminant(
            self.mean, self.scale, self.weight / temperature, self.bias / temperature
        )

    def among(self, labels: range) -> Discriminant:
        """The same for some of its labels."""
        kept = list(labels)
        return Discriminant(self.mean, self.scale, self.weight[kept], self.bias[kept])

    def folded(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weight ``(labels, values)`` and bias ``(labels,)`` of one layer that does it all."""
        weight = self.weight / self.scale
        return weight, self.bias - weight @ self.mean
