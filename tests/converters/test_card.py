"""What a model card says of the speech that a model learnt from."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("torch", reason="converters need torch")
pytest.importorskip("onnx", reason="converters need onnx")

from edge_ser.converters.card import model_card
from edge_ser.pack import Manifest, bundled_packs, open_pack


@pytest.fixture(scope="module")
def bundled() -> tuple[Manifest, dict[str, Any]]:
    pack = open_pack(bundled_packs()[0])
    return pack.manifest, json.loads((pack.path / "report.json").read_text())


def test_the_bundled_card_is_what_the_converter_writes(
    bundled: tuple[Manifest, dict[str, Any]],
) -> None:
    written = (open_pack(bundled_packs()[0]).path / "model-card.md").read_text()
    assert model_card(*bundled) == written
    assert "All of it is acted speech." in written
    assert "layers 1, 2, 3 of the frozen encoder" in written
    assert (
        "Lessons: states 2, verdict 0.25, evidence 0.5, 24 epochs by Muon at 0.015, seed 0."
        in written
    )


def test_a_student_without_a_teacher_has_a_card_too(
    bundled: tuple[Manifest, dict[str, Any]],
) -> None:
    manifest, report = bundled
    plain = {k: v for k, v in manifest.training.items() if k not in ("teacher", "recipe")}
    for training in (plain, {**plain, "teacher": None}):  # older packs say nothing
        assert "Teacher" not in model_card(replace(manifest, training=training), report)


def test_recordings_of_ones_own_are_not_called_acted(
    bundled: tuple[Manifest, dict[str, Any]],
) -> None:
    manifest, report = bundled
    own = {"clips": 3, "licence": "-", "commercial": False, "citation": ""}
    corpora = {**manifest.training["corpora"], "speech": own}
    heard = replace(manifest, training={**manifest.training, "corpora": corpora})
    card = model_card(heard, report)
    assert "All of it but speech, recordings of one's own, is acted speech." in card
