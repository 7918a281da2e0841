"""A pack with TensorRT models from an untrained student, and engines that pretend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_ser.audio import load_mono
from edge_ser.engines.cache import store_engine
from edge_ser.pack import Pack, open_pack
from edge_ser.runtime.sources import DEMO

from .engine_files import plan_of, sidecar_of

SMALL = {"stem": 32, "trunk": 48, "heads": 2, "context": 16, "fused": 32}


@pytest.fixture(scope="session")
def steps() -> Any:
    """The step of a small untrained student in every form, calibrated on noise."""
    torch = pytest.importorskip("torch", reason="a pack to build from is made with torch")
    pytest.importorskip("onnx", reason="a pack to build from is made with onnx")
    from edge_ser.calibration import activation_ranges
    from edge_ser.converters.convert import state_specs
    from edge_ser.converters.forms import FloatForm, Range, quantizable
    from edge_ser.converters.step_graph import build_step
    from edge_ser.converters.tensorrt_steps import tensorrt_float_step, tensorrt_step
    from edge_ser.converters.weights import fold_student
    from edge_ser.frontend import LogMel, LogMelSpec
    from edge_ser.models.student import Student, StudentConfig

    torch.manual_seed(3)
    config = StudentConfig(**SMALL)  # type: ignore[arg-type]
    student = Student(config, LogMelSpec().silence).eval()
    for value in student.state_dict().values():
        if value.is_floating_point() and value.ndim == 3:
            value.mul_(2.0)  # an untrained student hardly reacts to its input
    student.set_normalisation(torch.full((64,), -6.0), torch.full((64,), 3.0))
    weights = fold_student(student)
    reference = build_step(weights, FloatForm())
    rng = np.random.default_rng(0)
    mels = [(rng.standard_normal((64, 400)) * 3 - 6).astype(np.float32) for _ in range(3)]
    # Builds compare on the bundled sample.
    mels.append(LogMel(LogMelSpec()).clip(load_mono(DEMO, LogMelSpec().rate_hz)))
    report = activation_ranges(
        reference.onnx, state_specs(reference), quantizable(weights), mels, config.step_frames
    )
    spans = {name: Range(*span) for name, span in report.ranges.items()}
    return {
        "float": reference,
        "tensorrt": tensorrt_step(weights, spans),
        "tensorrt-float": tensorrt_float_step(weights),
    }


@pytest.fixture(scope="session")
def pack(steps: Any, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """A pack as ``convert`` writes it, with a float, a TensorRT and a TensorRT float target."""
    from edge_ser.converters.convert import state_specs
    from edge_ser.frontend import LogMelSpec
    from edge_ser.labels import SIX_LABELS
    from edge_ser.pack import Manifest, Target, write_pack

    kinds = {
        "float": (("onnxruntime", "tensorrt", "tensorrt-rtx"), "fp32"),
        "tensorrt": (("tensorrt", "tensorrt-rtx", "onnxruntime"), "int8"),
        "tensorrt-float": (("tensorrt", "tensorrt-rtx"), "fp32"),
    }
    manifest = Manifest(
        id="tiny",
        version="1",
        description="untrained, for tests",
        labels=SIX_LABELS,
        frontend=LogMelSpec(),
        targets={
            name: Target(f"{name}.onnx", *kinds[name], states=state_specs(step))
            for name, step in steps.items()
        },
    )
    out = tmp_path_factory.mktemp("packs") / "tiny"
    write_pack(manifest, {f"{n}.onnx": s.onnx.SerializeToString() for n, s in steps.items()}, out)
    return open_pack(out)


@pytest.fixture
def stored(pack: Pack, tmp_path: Path) -> Path:
    """An engine file of ``pack`` for an Orin, with its sidecar."""
    engine = tmp_path / "tiny-int8-tensorrt-0.engine"
    content = plan_of(pack.read("tensorrt.onnx"))
    store_engine(engine, content, sidecar_of(pack, content))
    return engine
