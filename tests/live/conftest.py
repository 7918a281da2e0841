"""A pack with random weights."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_ser.runtime import Recognizer


@pytest.fixture(scope="session")
def pack_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if made := os.environ.get("EDGE_SER_TEST_PACK"):
        return Path(made)
    torch = pytest.importorskip("torch", reason="making a pack needs the convert extra")
    pytest.importorskip("onnx", reason="making a pack needs the convert extra")
    from edge_ser.converters.forms import FloatForm
    from edge_ser.converters.step_graph import build_step
    from edge_ser.converters.weights import fold_student
    from edge_ser.frontend import LogMelSpec
    from edge_ser.models.student import Student, StudentConfig
    from edge_ser.pack import Manifest, Target, write_pack
    from edge_ser.pack.manifest import StateSpec

    torch.manual_seed(7)
    spec = LogMelSpec()
    student = Student(StudentConfig(stem=8, trunk=16, heads=2, fused=16), spec.silence).eval()
    with torch.no_grad():
        student.classifier.weight.mul_(6.0)  # random weights alone say the same of everything
    model = build_step(fold_student(student), FloatForm())
    states = tuple(StateSpec(s.name, s.next_name, s.shape, s.dtype, s.before) for s in model.states)
    content = model.onnx.SerializeToString()
    out = tmp_path_factory.mktemp("packs") / "random"
    manifest = Manifest(
        id="random",
        version="1",
        description="random weights, for tests",
        labels=student.config.labels,
        frontend=spec,
        targets={"cpu": Target("step.onnx", ("onnxruntime",), "fp32", states)},
    )
    write_pack(manifest, {"step.onnx": content}, out)
    return out


@pytest.fixture(scope="session")
def recognizer(pack_path: Path) -> Recognizer:
    return Recognizer.open(pack_path)
