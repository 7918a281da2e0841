"""What rounding each layer alone costs, to know which one to keep in higher precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.calibration.confidence import softmax

__all__ = ["LayerCost", "Sensitivity", "measure_sensitivity"]

Logits = list[NDArray[np.float32]]
Run = Callable[[frozenset[str], frozenset[str]], Logits]

_WORST = 2  # layers to name


@dataclass(frozen=True)
class LayerCost:
    """The step with one layer in INT8 and all others in float, against all in float.

    Attributes:
        layer: its name; ``inputs`` and ``weights`` stand for those of all layers at once, and
            ``all`` for both.
        score_error: mean absolute difference of a probability over every step.
        worst_score_error: the largest.
        agreement: share of steps with the same label.
        noise_db: signal to rounding noise of the logits, decibels; more is better.
    """

    layer: str
    score_error: float
    worst_score_error: float
    agreement: float
    noise_db: float


@dataclass(frozen=True)
class Sensitivity:
    """Costs of all layers.

    Attributes:
        layers: in the order of the graph.
        together: ``inputs``, ``weights`` and ``all``.
        keep: the most sensitive layers, worst first: what to keep in higher precision.
        clips: that were run.
        steps: that were run for each row.
    """

    layers: tuple[LayerCost, ...]
    together: tuple[LayerCost, ...]
    keep: tuple[str, ...]
    clips: int
    steps: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def measure_sensitivity(layers: Sequence[str], run: Run, temperature: float) -> Sensitivity:
    """Round one layer at a time.

    Args:
        run: logits ``(steps, labels)`` of each clip with the inputs of the first set of layers
            and the weights of the second rounded, all else in float.
        temperature: of the probabilities that are compared.
    """
    nothing = frozenset[str]()
    everything = frozenset(layers)
    exact = run(nothing, nothing)
    alone = tuple(
        _cost(layer, exact, run(frozenset([layer]), frozenset([layer])), temperature)
        for layer in layers
    )
    together = tuple(
        _cost(name, exact, run(inputs, weights), temperature)
        for name, inputs, weights in (
            ("inputs", everything, nothing),
            ("weights", nothing, everything),
            ("all", everything, everything),
        )
    )
    worst = sorted(alone, key=lambda cost: -cost.score_error)[:_WORST]
    return Sensitivity(
        alone,
        together,
        tuple(cost.layer for cost in worst),
        len(exact),
        sum(len(rows) for rows in exact),
    )


def _cost(name: str, exact: Logits, rounded: Logits, temperature: float) -> LayerCost:
    a, b = np.concatenate(exact), np.concatenate(rounded)
    p, q = softmax(a / temperature), softmax(b / temperature)
    noise = float(np.square(a - b).mean())
    signal = float(a.var())
    return LayerCost(
        layer=name,
        score_error=round(float(np.abs(p - q).mean()), 6),
        worst_score_error=round(float(np.abs(p - q).max()), 6),
        agreement=round(float(np.mean(p.argmax(axis=1) == q.argmax(axis=1))), 6),
        noise_db=round(10 * float(np.log10(max(signal, 1e-12) / max(noise, 1e-12))), 2),
    )
