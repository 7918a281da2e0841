"""A small pack from an untrained student; run as a script to write one for another Python.

``python tests/making/packs.py OUT`` writes the pack that ``EDGE_SER_TEST_PACK`` may name
where torch is not installed.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edge_ser.calibration import activation_ranges
from edge_ser.converters.convert import state_specs
from edge_ser.converters.cpu_step import build_cpu_step
from edge_ser.converters.forms import FloatForm, Range, quantizable
from edge_ser.converters.step_graph import StepModel, build_step
from edge_ser.converters.weights import fold_student
from edge_ser.frontend import LogMelSpec
from edge_ser.models import Student
from edge_ser.pack import Calibration, Manifest, StateSpec, Target, write_pack
from making.students import mel_of, random_student

__all__ = ["int8_step", "write_tiny_int8_pack", "write_tiny_pack"]


def int8_step(student: Student, keep: Collection[str] = ()) -> StepModel:
    """The step for CPUs, with ranges measured on speech-like audio; ``keep`` stays in float."""
    weights = fold_student(student)
    reference = build_step(weights, FloatForm())
    config = student.config
    spec = LogMelSpec(n_mels=config.n_mels, step_frames=config.step_frames)
    mels = [mel_of(4.0, seed, spec)[0].numpy() for seed in (21, 22)]
    found = activation_ranges(
        reference.onnx, state_specs(reference), quantizable(weights), mels, config.step_frames
    )
    spans = {name: Range(*span) for name, span in found.ranges.items()}
    return build_cpu_step(weights, spans, keep)


def write_tiny_int8_pack(
    out: Path, student: Student | None = None, keep: Collection[str] = ()
) -> Manifest:
    """Write a pack called ``tiny-int8``, whose model takes any number of streams, to ``out``."""
    student = student or random_student()
    step = int8_step(student, keep)
    manifest = Manifest(
        id="tiny-int8",
        version="1.0",
        description="Untrained, for tests.",
        labels=student.config.labels,
        frontend=LogMelSpec(n_mels=student.config.n_mels, step_frames=student.config.step_frames),
        targets={"cpu": Target("cpu.onnx", ("onnxruntime",), "int8", state_specs(step))},
        licences={"none": "made for tests"},
        commercial_use=True,
    )
    return write_pack(manifest, {"cpu.onnx": step.onnx.SerializeToString()}, out)


def write_tiny_pack(out: Path, student: Student | None = None) -> Manifest:
    """Write a float pack called ``tiny`` to ``out``."""
    student = student or random_student()
    config = student.config
    step = build_step(fold_student(student), FloatForm())
    states = tuple(
        StateSpec(state.name, state.next_name, state.shape, state.dtype, state.before)
        for state in step.states
    )
    manifest = Manifest(
        id="tiny",
        version="1.0",
        description="Untrained, for tests.",
        labels=config.labels,
        frontend=LogMelSpec(n_mels=config.n_mels, step_frames=config.step_frames),
        targets={"float": Target("float.onnx", ("onnxruntime",), "fp32", states)},
        calibration=Calibration(temperature=1.5, abstain_below=0.3, source="made up"),
        licences={"none": "made for tests"},
        commercial_use=True,
    )
    files = {"float.onnx": step.onnx.SerializeToString(), "README.md": b"# tiny\n"}
    return write_pack(manifest, files, out)


if __name__ == "__main__":
    write_tiny_pack(Path(sys.argv[1]))
