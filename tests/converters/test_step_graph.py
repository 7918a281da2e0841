"""The exported step, run step by step, is the student over the whole clip."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="converters need torch")
onnx = pytest.importorskip("onnx", reason="converters need onnx")

from making.students import TINY, mel_of, random_student

from edge_ser.converters.forms import FloatForm
from edge_ser.converters.step_graph import StepModel, build_step
from edge_ser.converters.weights import fold_student
from edge_ser.frontend import LogMelSpec
from edge_ser.models import Student, StudentConfig

CONFIGS = [
    TINY,
    StudentConfig(),
    StudentConfig(
        labels=("anger", "neutral"), domains=3, n_mels=40, step_frames=4, stem=8, trunk=24, heads=3,
        context=5, fused=12, span_tokens=11.0,
    ),
    StudentConfig(step_frames=16, stem=8, trunk=16, heads=1, context=64, fused=8),
]  # fmt: skip


def step_by_step(model: StepModel, mel: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Logits ``(steps, labels)`` by plain ``InferenceSession.run``, state fed back by hand."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model.onnx.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    states: dict[str, NDArray[Any]] = {}
    for state in model.states:
        before = np.array(state.before, state.dtype).reshape(1, -1, *[1] * (len(state.shape) - 2))
        states[state.name] = np.broadcast_to(before, state.shape).copy()
    names = [output.name for output in session.get_outputs()]
    logits = []
    for start in range(0, mel.shape[1], frames):
        feed = {"mel": mel[None, :, start : start + frames], **states}
        answers = dict(zip(names, session.run(names, feed), strict=True))
        logits.append(answers["logits"][0])
        states = {state.name: answers[state.next_name] for state in model.states}
    return np.stack(logits)


def whole_clip(student: Student, mel: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        logits: NDArray[np.float32] = student(torch.from_numpy(mel[None])).logits[0].numpy()
    return logits


def clip_for(config: StudentConfig, seconds: float = 6.4) -> NDArray[np.float32]:
    spec = LogMelSpec(n_mels=config.n_mels, step_frames=config.step_frames)
    mel: NDArray[np.float32] = mel_of(seconds, 9, spec)[0].numpy()
    return mel


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("seed", [0, 1])
def test_streaming_equals_the_whole_clip(config: StudentConfig, seed: int) -> None:
    student, mel = random_student(config, seed), clip_for(config)
    model = build_step(fold_student(student), FloatForm())
    stepped, whole = step_by_step(model, mel, config.step_frames), whole_clip(student, mel)
    assert stepped.shape == whole.shape
    assert np.ptp(whole) > 0.1, "logits that never move prove nothing"
    np.testing.assert_allclose(stepped, whole, atol=1e-4)


def test_half_weights_are_close_and_half_as_large() -> None:
    config = StudentConfig()
    student, mel = random_student(config), clip_for(config)
    weights = fold_student(student)
    full, half = build_step(weights, FloatForm()), build_step(weights, FloatForm(half_weights=True))
    assert half.onnx.ByteSize() < 0.65 * full.onnx.ByteSize()
    assert half.states == full.states
    difference = np.abs(step_by_step(half, mel, 8) - whole_clip(student, mel)).max()
    assert 0 < difference < 0.02


def test_the_model_takes_and_gives_what_it_says() -> None:
    model = build_step(fold_student(random_student()), FloatForm())
    onnx.checker.check_model(model.onnx, full_check=True)
    inputs = {item.name for item in model.onnx.graph.input}
    outputs = {item.name for item in model.onnx.graph.output}
    assert inputs == {"mel", *(state.name for state in model.states)}
    assert outputs == {"logits", *(state.next_name for state in model.states)}
    shapes = {
        item.name: tuple(d.dim_value for d in item.type.tensor_type.shape.dim)
        for item in model.onnx.graph.input
    }
    assert shapes["mel"] == (1, 64, 8)
    assert all(shapes[state.name] == state.shape for state in model.states)
    assert all(0 not in shape for shape in shapes.values()), "all shapes are static"


def test_folding_leaves_the_student_as_it_was() -> None:
    student = random_student()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    build_step(fold_student(student), FloatForm())
    after = student.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not student.training


def test_state_before_the_stream_is_silence_and_zero() -> None:
    student = random_student()
    first, *rest = build_step(fold_student(student), FloatForm()).states
    assert first.before == pytest.approx(student.silence)
    assert all(state.before == 0.0 for state in rest)
