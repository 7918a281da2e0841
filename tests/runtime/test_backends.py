"""Choosing an engine: never another one than asked for; a model must keep its pack's word."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_ser.errors import BackendError, PackError, UsageError
from edge_ser.pack import StateSpec, open_pack
from edge_ser.runtime import Recognizer
from edge_ser.runtime.backends import BACKENDS, load_engine


def edit(folder: Path, change: Any) -> None:
    """Change the description and make the hashes right again."""
    path = folder / "pack.json"
    said = json.loads(path.read_text())
    change(said)
    for name in said["files"]:
        content = (folder / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        said["files"][name] = {"bytes": len(content), "sha256": digest}
    path.write_text(json.dumps(said))


def test_auto_takes_onnxruntime(shared_pack: Path) -> None:
    engine = Recognizer.open(shared_pack, require_backend="onnxruntime").engine
    assert engine.backend == "onnxruntime"
    assert engine.precision == "fp32"


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ({"backend": "openvino"}, UsageError, "unknown backend 'openvino'; known are auto, onnx"),
        ({"precision": "int4"}, UsageError, "unknown precision 'int4'"),
        ({"threads": 0}, UsageError, "at least one thread"),
        ({"precision": "int8"}, BackendError, "no int8 model for onnxruntime, only fp32"),
        ({"backend": "tensorrt"}, BackendError, "no TensorRT|no model for tensorrt"),
        ({"require_backend": "tensorrt"}, BackendError, "tensorrt is required, but onnxruntime"),
    ],
)
def test_what_cannot_be_had_is_said(
    shared_pack: Path, arguments: dict[str, Any], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        Recognizer.open(shared_pack, **arguments)


def test_falling_back_is_the_users_choice_and_is_said(
    shared_pack: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pack = open_pack(shared_pack)
    with caplog.at_level(logging.WARNING):
        engine = load_engine(pack, "tensorrt", allow_fallback=True)
    assert engine.backend == "onnxruntime"
    assert "falling back to onnxruntime" in caplog.text
    with pytest.raises(BackendError, match="is required"):
        Recognizer.open(
            shared_pack, backend="tensorrt", allow_fallback=True, require_backend="tensorrt"
        )


def test_names_are_those_of_the_interface() -> None:
    assert BACKENDS == ("onnxruntime", "tensorrt", "tensorrt-rtx")


def test_a_missing_engine_library_is_named(
    shared_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError, match="pip install onnxruntime"):
        Recognizer.open(shared_pack)


def test_a_file_that_is_no_model(pack_folder: Path) -> None:
    (pack_folder / "float.onnx").write_bytes(b"no model at all")
    with pytest.raises(PackError, match=r"float\.onnx has 15 bytes"):
        Recognizer.open(pack_folder)
    edit(pack_folder, lambda said: None)
    with pytest.raises(BackendError, match=r"cannot load float\.onnx of pack tiny@1\.0"):
        Recognizer.open(pack_folder)


def wrong_labels(said: dict[str, Any]) -> None:
    said["labels"] = said["labels"][:-1]


def wrong_mels(said: dict[str, Any]) -> None:
    said["frontend"]["n_mels"] = 32


def wrong_state_shape(said: dict[str, Any]) -> None:
    said["targets"]["float"]["states"][0]["shape"][2] += 1


def wrong_state_type(said: dict[str, Any]) -> None:
    said["targets"]["float"]["states"][0]["dtype"] = "int8"


def missing_state(said: dict[str, Any]) -> None:
    said["targets"]["float"]["states"].pop()


def unknown_state(said: dict[str, Any]) -> None:
    said["targets"]["float"]["states"][0]["output"] = "other.next"


@pytest.mark.parametrize(
    "change",
    [wrong_labels, wrong_mels, wrong_state_shape, wrong_state_type, missing_state, unknown_state],
)
def test_a_model_that_is_not_what_its_pack_says(pack_folder: Path, change: Any) -> None:
    edit(pack_folder, change)
    with pytest.raises(BackendError, match="is not what the pack says"):
        Recognizer.open(pack_folder)


def test_two_states_with_one_name_are_refused(pack_folder: Path) -> None:
    def double(said: dict[str, Any]) -> None:
        states = said["targets"]["float"]["states"]
        states.append(states[0])

    edit(pack_folder, double)
    with pytest.raises((PackError, BackendError), match="twice"):
        Recognizer.open(pack_folder)


def test_initial_state_holds_one_number_everywhere() -> None:
    single = StateSpec("a", "b", (2, 3, 4), "float32", 0.5).initial()
    assert single.shape == (2, 3, 4)
    assert np.all(single == 0.5)
    stored = StateSpec("a", "b", (2, 3, 4), "uint8", 255.0).initial()
    assert stored.dtype == np.uint8
    assert np.all(stored == 255)


def test_an_engine_stream_can_begin_again(shared_pack: Path) -> None:
    engine = Recognizer.open(shared_pack).engine
    rng = np.random.default_rng(0)
    for n_steps in (1, 2, 5):  # both turns of the bindings
        stream = engine.stream()
        inputs = rng.standard_normal((n_steps, *stream.mel.shape)).astype(np.float32)

        def go(stream: Any = stream, inputs: Any = inputs) -> list[list[float]]:
            answers = []
            for mel in inputs:
                stream.mel[:] = mel
                answers.append(stream.step()[0].tolist())
            return answers

        first = go()
        assert go() != first, "state is carried on"
        stream.reset()
        assert go() == first
