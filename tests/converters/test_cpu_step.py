"""The step for CPUs says what the float step says, for one stream and for several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="converters need torch")
onnx = pytest.importorskip("onnx", reason="converters need onnx")

from making.packs import int8_step, write_tiny_int8_pack
from making.students import TINY, mel_of, random_student

from edge_ser.calibration import FloatStepper
from edge_ser.converters.convert import state_specs
from edge_ser.converters.forms import FloatForm
from edge_ser.converters.onnx_writer import BATCH
from edge_ser.converters.simulated import layer_names
from edge_ser.converters.step_graph import StepModel, build_step
from edge_ser.converters.weights import fold_student
from edge_ser.frontend import LogMelSpec
from edge_ser.models import StudentConfig
from edge_ser.runtime import Recognizer

CONFIGS = [
    TINY,
    StudentConfig(),
    StudentConfig(
        labels=("anger", "neutral"), domains=3, n_mels=40, step_frames=4, stem=8, trunk=24, heads=3,
        context=5, fused=12, span_tokens=11.0,
    ),
]  # fmt: skip


def logits(model: StepModel, mel: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    return FloatStepper(model.onnx, state_specs(model)).logits(mel, frames)


@pytest.mark.parametrize("config", CONFIGS)
def test_it_is_the_float_step_but_for_rounding(config: StudentConfig) -> None:
    student = random_student(config, 4)
    spec = LogMelSpec(n_mels=config.n_mels, step_frames=config.step_frames)
    mel = mel_of(4.8, 31, spec)[0].numpy()
    exact = logits(build_step(fold_student(student), FloatForm()), mel, config.step_frames)
    rounded = logits(int8_step(student), mel, config.step_frames)
    assert rounded.shape == exact.shape
    # Untrained activations are spread wider than trained ones, so rounding weighs more.
    assert 0 < np.abs(rounded - exact).mean() < 0.15 * exact.std()
    assert np.corrcoef(exact.ravel(), rounded.ravel())[0, 1] > 0.98


def test_layers_that_are_kept_in_float_are_not_rounded_by_anybody(tmp_path: Path) -> None:
    """ONNX Runtime rounds the weights of a float layer between stored inputs and outputs."""
    student = random_student(TINY, 4)
    mel = mel_of(4.8, 31)[0].numpy()
    exact = logits(build_step(fold_student(student), FloatForm()), mel, TINY.step_frames)
    every = layer_names(fold_student(student))
    errors = []
    for keep in ((), every):
        step = int8_step(student, keep)
        heard = logits(step, mel, TINY.step_frames)
        pack = tmp_path / str(len(keep))
        write_tiny_int8_pack(pack, student, keep)
        stream = Recognizer.open(pack).engine.stream()
        deployed = []
        for frame in range(0, mel.shape[1], TINY.step_frames):
            stream.mel[0][...] = mel[:, frame : frame + TINY.step_frames]
            deployed.append(stream.step()[0].copy())
        np.testing.assert_allclose(np.stack(deployed), heard, atol=1e-4)
        errors.append(np.abs(heard - exact).mean())
    assert errors[1] < 0.7 * errors[0]


def test_only_the_number_of_streams_is_open() -> None:
    model = int8_step(random_student())
    onnx.checker.check_model(model.onnx, full_check=True)
    for item in (*model.onnx.graph.input, *model.onnx.graph.output):
        sizes = item.type.tensor_type.shape.dim
        assert [d.dim_param for d in sizes if not d.dim_value] == [BATCH]


def test_what_is_joined_is_handed_on_whole_and_cut_by_nobody() -> None:
    model = int8_step(random_student())
    assert not [node for node in model.onnx.graph.node if node.op_type == "Slice"]
    outputs = {item.name: item for item in model.onnx.graph.output}
    for state, spec in zip(model.states, state_specs(model), strict=True):
        sizes = outputs[state.next_name].type.tensor_type.shape.dim
        assert [d.dim_value or 1 for d in sizes] == list(spec.output_shape)
        assert spec.newest(np.empty(spec.output_shape)).shape == spec.shape


def test_streams_side_by_side_do_not_touch_each_other() -> None:
    import onnxruntime

    model = int8_step(random_student())
    mels = [mel_of(1.6, seed)[0].numpy() for seed in range(3)]
    alone = [logits(model, mel, 8) for mel in mels]
    session = onnxruntime.InferenceSession(
        model.onnx.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    axes = {item.name: item.shape.index(BATCH) for item in session.get_inputs()}
    specs = state_specs(model)
    feed: dict[str, Any] = {
        spec.input: np.repeat(np.full(spec.shape, spec.before, spec.dtype), 3, axes[spec.input])
        for spec in specs
    }
    names = ["logits", *(spec.output for spec in specs)]
    for step in range(alone[0].shape[0]):
        feed["mel"] = np.stack([mel[:, step * 8 : step * 8 + 8] for mel in mels])
        answer, *rest = session.run(names, feed)
        feed |= {s.input: s.newest(value) for s, value in zip(specs, rest, strict=True)}
        np.testing.assert_allclose(answer, [rows[step] for rows in alone], atol=1e-4)
