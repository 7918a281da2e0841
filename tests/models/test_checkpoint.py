"""Checkpoints: whole, or one line about what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="checkpoints need torch")
safetensors = pytest.importorskip("safetensors.torch", reason="checkpoints need safetensors")

from making.students import mel_of, random_student

from edge_ser.errors import InputError, UsageError
from edge_ser.frontend import LogMelSpec
from edge_ser.models.checkpoint import Checkpoint, load_student, save_student


@pytest.fixture
def path(tmp_path: Path) -> Path:
    out = tmp_path / "checkpoint.safetensors"
    save_student(Checkpoint(random_student(), LogMelSpec(), {"epochs": 3}), out)
    return out


@torch.no_grad()
def test_round_trip(path: Path) -> None:
    loaded = load_student(path)
    assert loaded.training == {"epochs": 3}
    assert loaded.frontend == LogMelSpec()
    mel = mel_of(1.6)
    assert torch.equal(loaded.student(mel).logits, random_student()(mel).logits)
    assert not loaded.student.training


def header_of(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    with safetensors.safe_open(path, "pt") as file:
        said = json.loads(file.metadata()["edge-ser"])
    return said, safetensors.load_file(path)


@torch.no_grad()
def test_a_checkpoint_from_before_there_were_domains_has_one(path: Path) -> None:
    said, tensors = header_of(path)
    del said["config"]["domains"]
    safetensors.save_file(tensors, path, {"edge-ser": json.dumps(said)})
    loaded = load_student(path).student
    assert loaded.config.domains == 1
    assert torch.equal(loaded(mel_of(1.6)).logits, random_student()(mel_of(1.6)).logits)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 99}, "student version 99"),
        ({"model": "teacher"}, "holds teacher"),
        ({"frontend": {}}, "does not fit this edge-ser"),
        ({"config": None}, "does not fit this edge-ser"),
    ],
)
def test_another_checkpoint(path: Path, change: dict[str, Any], says: str) -> None:
    said, tensors = header_of(path)
    path.write_bytes(safetensors.save(tensors, {"edge-ser": json.dumps({**said, **change})}))
    with pytest.raises(InputError, match=says) as caught:
        load_student(path)
    assert "\n" not in str(caught.value)


def test_weights_of_another_shape(path: Path) -> None:
    said, tensors = header_of(path)
    said["config"]["trunk"] = 32
    path.write_bytes(safetensors.save(tensors, {"edge-ser": json.dumps(said)}))
    with pytest.raises(InputError, match=r"does not fit .*size mismatch"):
        load_student(path)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_named(path: Path, bad: float) -> None:
    said, tensors = header_of(path)
    tensors["classifier.weight"][0, 0] = bad
    path.write_bytes(safetensors.save(tensors, {"edge-ser": json.dumps(said)}))
    with pytest.raises(InputError, match=r"classifier\.weight holds NaN or infinite"):
        load_student(path)


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_a_truncated_file(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match="is no whole checkpoint"):
        load_student(path)


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such checkpoint file"):
        load_student(tmp_path / "none")
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(safetensors.save({"w": torch.zeros(3)}))
    with pytest.raises(InputError, match="was not written by edge-ser train"):
        load_student(foreign)
    pickle = tmp_path / "pickle.pt"
    torch.save({"w": torch.zeros(3)}, pickle)
    with pytest.raises(InputError, match="is no whole checkpoint"):
        load_student(pickle)


def test_a_shorter_attention_is_one_that_training_knows() -> None:
    checkpoint = Checkpoint(random_student(), LogMelSpec(), {})
    shorter = checkpoint.reaching(4)
    assert shorter.student.config.context == 4
    mel = mel_of(3.0)
    with torch.no_grad():
        torch.testing.assert_close(
            shorter.student(mel).logits, checkpoint.student(mel, 4).logits, atol=1e-5, rtol=0
        )
        assert not torch.equal(shorter.student(mel).logits, checkpoint.student(mel).logits)
    for wrong in (1, 9):
        with pytest.raises(UsageError, match="can reach back 2 to 8 tokens"):
            checkpoint.reaching(wrong)
