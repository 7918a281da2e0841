"""The comparison with Model Optimizer, all but Model Optimizer itself."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="converters need torch")
onnx = pytest.importorskip("onnx", reason="converters need onnx")

from making.students import TINY, mel_of, random_student

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed

from benchmarks.model_optimizer.compare import Engine, Judge, Row, placement
from benchmarks.model_optimizer.peer import JOBS, quantize_there
from benchmarks.model_optimizer.show import failures, placements, table
from benchmarks.model_optimizer.steps import Material, calibration_feeds, float_step, our_form
from edge_ser.calibration import FloatStepper
from edge_ser.converters.step_graph import StepModel, state_specs
from edge_ser.converters.stepping import logits_of
from edge_ser.errors import InputError
from edge_ser.frontend import LogMelSpec
from edge_ser.models.checkpoint import Checkpoint

STAND_IN = f"""#!{sys.executable}
import json, pathlib, shutil, sys
import numpy
folder = pathlib.Path(sys.argv[3])
order = json.loads((folder / "order.json").read_text())
steps = len(numpy.load(folder / "feeds.npz")["mel"])
shutil.copy(folder / "step.onnx", folder / order[0]["file"])
forms = {{job["file"]: {{"error": f"no {{job['method']}} of {{steps}} steps"}} for job in order}}
forms[order[0]["file"]] = {{"seconds": 1.0}}
(folder / "result.json").write_text(json.dumps({{"versions": {{"it": "1"}}, "forms": forms}}))
"""


@pytest.fixture(scope="module")
def material() -> Material:
    spec = LogMelSpec(n_mels=TINY.n_mels, step_frames=TINY.step_frames)
    mels = tuple(mel_of(1.0, seed, spec)[0].numpy() for seed in (31, 32))
    return Material(Checkpoint(random_student(), spec, {}), mels, mels, (0, 1))


@pytest.fixture(scope="module")
def step(material: Material) -> StepModel:
    return float_step(material.checkpoint)


def test_every_calibration_step_has_the_state_of_its_stream(
    material: Material, step: StepModel
) -> None:
    feeds = calibration_feeds(step, material)
    expected = np.concatenate(logits_of(step, material.ranged, TINY.step_frames))
    session = FloatStepper(step.onnx, state_specs(step))._session
    for index, row in enumerate(expected):
        feed = {
            spec.name: feeds[spec.name].reshape(len(expected), *spec.shape)[index]
            for spec in session.get_inputs()
        }
        np.testing.assert_allclose(session.run(["logits"], feed)[0][0], row, atol=1e-5)


def test_a_form_that_was_made_and_one_that_was_not(
    material: Material, step: StepModel, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    feeds = calibration_feeds(step, material)
    folder = tmp_path / "work"
    folder.mkdir()
    forms, versions = quantize_there(python, folder, step.onnx, feeds)
    assert versions == {"it": "1"}
    assert forms[0].model == step.onnx
    assert [form.model for form in forms[1:]] == [None] * (len(JOBS) - 1)
    assert forms[2].error == f"no entropy of {len(feeds['mel'])} steps"


@pytest.mark.skipif(find_spec("modelopt") is not None, reason="Model Optimizer is here")
def test_a_python_without_model_optimizer_is_told(step: StepModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No module named 'modelopt'.*install it as"):
        quantize_there(Path(sys.executable), tmp_path, step.onnx, {"mel": np.zeros(1)})
    with pytest.raises(InputError, match="cannot be run: No such file"):
        quantize_there(tmp_path / "none", tmp_path, step.onnx, {"mel": np.zeros(1)})


def test_the_table_tells_what_is_quantized(material: Material, step: StepModel) -> None:
    exact = logits_of(step, material.judged, TINY.step_frames)
    judge = Judge(
        exact,
        material.judged,
        material.truth,
        state_specs(step),
        TINY.labels,
        TINY.step_frames,
        1.0,
    )
    ours = our_form(material, "minmax")
    rows = [
        Row(name, "fp32", model.ByteSize(), 16, oldest, judge.parity(model), placement(model), engine)
        for name, model, oldest, engine in (
            ("float", step.onnx, "8.5.2", Engine(0, None, "no parser")),
            ("ours", ours, "", Engine(0, None)),
        )
    ]  # fmt: skip
    plain, rounded = rows
    assert plain.parity.worst_score_error == 0.0
    assert plain.placement.products == ()
    assert 0.0 < rounded.parity.mean_score_error < 0.1
    assert rounded.placement.left == ("classifier",)
    assert {*rounded.placement.products, "classifier"} == set(plain.placement.left)
    assert "| float | 100.0 % | +0.0 | 0.0000 | 0.000 | does not build |" in table(rows)
    assert all(line.count("|") == 13 for line in table(rows).splitlines())
    assert "- ours: products left in float: classifier; " in placements(rows)
    assert failures(rows, {"third": "ValueError: x"}) == (
        "- third was not made: ValueError: x\n- float: no parser\n"
    )


def test_arithmetic_on_dequantized_values_is_told(material: Material) -> None:
    model = our_form(material, "minmax")
    rest = next(node for node in model.graph.node if node.name == "memory.weighted")
    pair = next(node for node in model.graph.node if node.op_type == "DequantizeLinear")
    rest.input[0] = pair.output[0]
    assert placement(model).others == ("Mul memory.weighted",)
