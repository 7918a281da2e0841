"""``--precision auto``: the fastest form that keeps parity, measured on the device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edge_ser.converters.engine.build import Built
from edge_ser.converters.engine.variants import Variant
from edge_ser.engines.sidecar import sidecar_path
from edge_ser.errors import BackendError, EdgeSerError, GateMissed
from edge_ser.files import write_text
from edge_ser.parity import Parity

__all__ = ["Trial", "fastest", "mark_chosen"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    """One form, built, compared and timed.

    Attributes:
        parity: against the FP32 model on ONNX Runtime.
        p50_ms: median time of a step on the device.
        p99_ms: and its 99th percentile.
        problem: why it is out; None if it passed.
    """

    variant: Variant
    built: Built | None = None
    parity: Parity | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    problem: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "precision": self.variant.precision,
            "base": self.variant.base,
            "parity": None if self.parity is None else self.parity.to_dict(),
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "problem": self.problem,
        }


def fastest(
    variants: Sequence[Variant], attempt: Callable[[Variant], Trial]
) -> tuple[Trial, list[Trial]]:
    """The trial with the shortest median step among those that passed, and all of them.

    A form that cannot be built or fails its gate is out; the others go on.

    Raises:
        BackendError: none passed; with the reason of each.
    """
    trials = []
    for variant in variants:
        try:
            trials.append(attempt(variant))
        except GateMissed as error:
            trials.append(Trial(variant, problem=str(error)))
        except EdgeSerError as error:
            log.warning("%s: %s", variant, error)
            trials.append(Trial(variant, problem=str(error)))
    passed = [t for t in trials if t.problem is None and t.p50_ms is not None]
    if not passed:
        reasons = "; ".join(f"{trial.variant}: {trial.problem}" for trial in trials)
        raise BackendError(f"no form of the model can be used here: {reasons}")
    best = min(passed, key=lambda trial: trial.p50_ms or 0.0)
    return best, trials


def mark_chosen(built: Built, trials: Sequence[Trial]) -> Built:
    """Note in the sidecar that ``auto`` chose this engine, and from what."""
    report = {**built.sidecar.report, "trials": [trial.to_dict() for trial in trials]}
    sidecar = replace(built.sidecar, automatic=True, report=report)
    write_text(sidecar_path(built.engine), sidecar.to_json())
    return replace(built, sidecar=sidecar)
