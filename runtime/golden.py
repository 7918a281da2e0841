"""The golden vectors of a pack through an engine of this machine: does it compute the same?"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import PackError
from edge_ser.pack import Pack
from edge_ser.runtime.backends import Engine, load_engine
from edge_ser.runtime.backends.ort import OrtEngine
from edge_ser.runtime.parity import time_engine

__all__ = ["LEAST_AGREEMENT", "WORST_SCORE", "Golden", "golden_run", "golden_runs"]

FILE = "golden.npz"
LEAST_AGREEMENT = 0.96
"""Share of steps that must have the label of the golden vectors: one of 25 may be a near tie."""
WORST_SCORE = 0.10
"""Largest difference of a probability, as engine builds are held to."""


@dataclass(frozen=True)
class Golden:
    """How an engine did on the golden vectors of a pack.

    Attributes:
        backend: engine that computed.
        precision: of its model.
        target: of the pack whose recorded scores it was held to.
        steps: how many were compared.
        agreement: share of them with the recorded label.
        worst: largest difference of a probability.
        p50_ms: median of a step of the model on this machine.
        p99_ms: 99th percentile.
    """

    backend: str
    precision: str
    target: str
    steps: int
    agreement: float
    worst: float
    p50_ms: float
    p99_ms: float

    @property
    def agrees(self) -> bool:
        """Whether the engine may be trusted with this pack."""
        return self.agreement >= LEAST_AGREEMENT and self.worst <= WORST_SCORE

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "agrees": self.agrees}


def golden_run(pack: Pack, engine: Engine, target: str, *, timed_steps: int = 300) -> Golden:
    """Run the golden frames of ``pack`` and compare with what ``target`` gave when it was made.

    Raises:
        PackError: the pack has no golden vectors of that target, or broken ones.
    """
    mel, logits = _golden_of(pack, target)
    stream = engine.stream()
    size = pack.manifest.frontend.step_frames
    found = []
    for index in range(len(logits)):
        stream.mel[0] = mel[:, index * size : (index + 1) * size]
        found.append(stream.step()[0].astype(np.float64))
    temperature = pack.manifest.calibration.temperature
    ours, theirs = _softmax(np.stack(found) / temperature), _softmax(logits / temperature)
    worst = float(np.abs(ours - theirs).max())
    p50, p99 = time_engine(pack.manifest, engine, warm_up=50, steps=timed_steps)
    return Golden(
        engine.backend,
        engine.precision,
        target,
        len(logits),
        float((ours.argmax(1) == theirs.argmax(1)).mean()),
        # A score that is no number is as wrong as can be.
        worst if np.isfinite(worst) else 1.0,
        p50,
        p99,
    )


def golden_runs(pack: Pack, backend: str = "auto", *, timed_steps: int = 300) -> list[Golden]:
    """Every model of ``pack`` for ``backend``, the one that would be used first.

    Raises:
        BackendError: the engine is missing here, or the pack has no model for it.
        PackError: the pack has no golden vectors.
    """
    engine = load_engine(pack, backend)
    fitting = [k for k, t in pack.manifest.targets.items() if engine.backend in t.backends]
    if not isinstance(engine, OrtEngine):
        name = next((k for k in fitting if _computes(pack, k, engine)), fitting[0])
        return [golden_run(pack, engine, name, timed_steps=timed_steps)]
    return [
        golden_run(
            pack, OrtEngine(pack, pack.manifest.targets[name], 1), name, timed_steps=timed_steps
        )
        for name in fitting
    ]


def _computes(pack: Pack, target: str, engine: Engine) -> bool:
    """Whether ``engine`` was built from ``target``: INT8 comes from the INT8 model only."""
    return (pack.manifest.targets[target].precision == "int8") == (engine.precision == "int8")


def _golden_of(pack: Pack, target: str) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    if FILE not in pack.manifest.files:
        raise PackError(
            f"pack {pack.manifest.name} has no golden vectors ({FILE}), so nothing shows that it "
            "computes right on this machine; convert it again with this edge-ser"
        )
    try:
        with np.load(io.BytesIO(pack.read(FILE)), allow_pickle=False) as golden:
            mel = golden["mel"].astype(np.float32)
            logits = golden[f"logits.{target}"].astype(np.float64)
    except (KeyError, ValueError, TypeError, OSError, EOFError, BadZipFile) as error:
        raise PackError(
            f"pack {pack.manifest.name}: {FILE} has nothing usable for {target} ({error})"
        ) from error
    spec, labels = pack.manifest.frontend, len(pack.manifest.labels)
    steps = 0 if mel.ndim != 2 else mel.shape[1] // spec.step_frames
    if mel.ndim != 2 or mel.shape[0] != spec.n_mels or logits.shape != (steps, labels) or not steps:
        raise PackError(
            f"pack {pack.manifest.name}: {FILE} has frames {mel.shape} and scores {logits.shape} "
            f"for {target}, which do not fit together"
        )
    return mel, logits


def _softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
