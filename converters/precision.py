"""Which precision a pack gets for CPUs: built, gated and timed, then chosen."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.converters.step_graph import StepModel, state_specs
from edge_ser.errors import GateMissed
from edge_ser.frontend import LogMelSpec
from edge_ser.pack import Manifest, Target, open_pack, write_pack
from edge_ser.parity import Gates, Parity, missed_gates

__all__ = ["Candidate", "Choice", "choose_precision", "time_steps"]

_ROUNDS = 8
_STEPS_PER_ROUND = 40
_EQUAL = 1.1


@dataclass(frozen=True)
class Candidate:
    """A form of the step that the pack could carry.

    Attributes:
        precision: ``int8``, ``mixed`` or ``fp32``.
        float_layers: what ``mixed`` keeps in float.
    """

    precision: str
    model: StepModel
    float_layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """What was chosen and why.

    Attributes:
        precision: of the chosen candidate.
        reason: one sentence with the numbers.
        candidates: a row each: precision, bytes, step time, parity, gates missed.
    """

    precision: str
    reason: str
    candidates: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def choose_precision(
    candidates: Sequence[Candidate],
    parities: Mapping[str, Parity],
    step_us: Mapping[str, float],
    gates: Gates,
    ignore_gates: bool = False,
) -> Choice:
    """The fastest candidate that passes the gates; float is no answer unless it is the only one.

    Times within a tenth of each other count as equal: they change places from run to run.

    Args:
        candidates: in the order of preference where times are equal.
        parities: of each against the float model, by precision.
        step_us: median time of a step, by precision.
        ignore_gates: where none but float passes, take the first.

    Raises:
        GateMissed: none but float passes, and the gates count.
    """
    rows, passing, failures = [], list[Candidate](), list[str]()
    for candidate in candidates:
        name = candidate.precision
        missed = missed_gates(name, parities[name], gates)
        failures += missed
        if not missed:
            passing.append(candidate)
        rows.append(
            {
                "precision": name,
                "float_layers": list(candidate.float_layers),
                "bytes": candidate.model.onnx.ByteSize(),
                "step_us": round(step_us[name], 1),
                "agreement": round(parities[name].agreement, 4),
                "uar_change": parities[name].uar_change,
                "mean_score_error": round(parities[name].mean_score_error, 5),
                "missed": missed,
            }
        )
    rounded = [candidate for candidate in passing if candidate.precision != "fp32"]
    eligible = passing
    if not rounded and (ignore_gates or len(candidates) == 1):
        eligible = [candidates[0]]
    elif not rounded:
        raise GateMissed(
            f"{'; '.join(failures)}; no pack was written. Try another --calibration-method or "
            "more calibration clips, --precision fp32, or write it all the same with "
            "--ignore-gates"
        )
    fastest = min(step_us[candidate.precision] for candidate in eligible)
    best = next(
        candidate for candidate in eligible if step_us[candidate.precision] <= _EQUAL * fastest
    )
    others = [
        f"{c.precision} {step_us[c.precision]:.0f} µs"
        + ("" if c in passing else f" and misses: {'; '.join(rows[i]['missed'])}")
        for i, c in enumerate(candidates)
        if c is not best
    ]
    state = "passes the gates" if best in passing else "misses gates that were ignored"
    reason = f"{best.precision} takes {step_us[best.precision]:.0f} µs a step here and {state}" + (
        f"; {', '.join(others)}" if others else "; no other was asked for"
    )
    return Choice(best.precision, reason, tuple(rows))


def time_steps(
    candidates: Sequence[Candidate],
    frontend: LogMelSpec,
    labels: tuple[str, ...],
    mel: NDArray[np.float32],
) -> dict[str, float]:
    """Median microseconds of a step of each candidate in the runtime's own engine.

    They take turns, so that whatever else the machine does falls on all of them.

    Args:
        mel: ``(n_mels, frames)`` of speech; what is multiplied can decide how long it takes.
    """
    from edge_ser.runtime.backends.ort import OrtEngine
    from edge_ser.runtime.timing import clock

    files = {f"{c.precision}.onnx": c.model.onnx.SerializeToString() for c in candidates}
    manifest = Manifest(
        id="timing",
        version="0",
        description="candidates",
        labels=labels,
        frontend=frontend,
        targets={
            c.precision: Target(
                f"{c.precision}.onnx", ("onnxruntime",), c.precision, state_specs(c.model)
            )
            for c in candidates
        },
    )
    frames = frontend.step_frames
    steps = [mel[:, i : i + frames] for i in range(0, mel.shape[1] - frames + 1, frames)]
    with tempfile.TemporaryDirectory() as folder:
        write_pack(manifest, files, Path(folder) / "pack")
        pack = open_pack(Path(folder) / "pack")
        streams = {
            name: OrtEngine(pack, target, 1).stream()
            for name, target in pack.manifest.targets.items()
        }
        taken: dict[str, list[int]] = {name: [] for name in streams}
        for round_ in range(_ROUNDS + 1):
            for name, stream in streams.items():
                for index in range(_STEPS_PER_ROUND):
                    stream.mel[0] = steps[index % len(steps)]
                    begin = clock()
                    stream.step()
                    if round_:  # the first round warms up
                        taken[name].append(clock() - begin)
    return {name: float(np.median(times)) / 1000.0 for name, times in taken.items()}
