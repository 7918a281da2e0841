"""How many copies a clip gets, and that features and states have the same ones."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("audiomentations", reason="copies need audiomentations")

from edge_ser.corpora import Clip
from edge_ser.frontend import LogMelSpec
from edge_ser.training.bank import FeatureBank
from edge_ser.training.linear_teacher import DistillWeights, LinearTeacher
from edge_ser.training.voices import voices_of


def clips(corpus: str, speakers: int, label: str) -> list[Clip]:
    return [
        Clip(Path(f"{corpus}-{speaker}-{n}.wav"), corpus, f"{corpus}:{speaker:02d}", label, "a")
        for speaker in range(speakers)
        for n in range(2)
    ]


def test_few_speakers_get_more_voices() -> None:
    few, many = clips("emodb", 8, "anger"), clips("ravdess", 20, "anger")
    two, nobody = clips("tess", 2, ""), clips("savee", 2, "anger")
    found = voices_of([*few, *many, *two, *nobody], 3, 80)
    assert {found[clip] for clip in few} == {9}  # 8 speakers as 80
    assert {found[clip] for clip in many} == {3}
    assert {found[clip] for clip in two} == {3}  # without labels there is nothing to recite
    assert {found[clip] for clip in nobody} == {9}  # at most
    assert set(voices_of(few, 0, 80).values()) == {0}
    assert set(voices_of(few, 5, 0).values()) == {5}


def test_teacher_and_student_hear_the_same_voices(tmp_path: Path) -> None:
    from making.corpus import emodb_like
    from making.encoder import waveform_model

    folder = emodb_like(tmp_path / "emodb", speakers=("03",), letters="WN")
    heard = [
        Clip(path, "emodb", "emodb:03", label, "a")
        for path, label in zip(sorted(folder.iterdir()), ("neutral", ""), strict=True)
    ]
    bank = FeatureBank.build(
        heard,
        LogMelSpec(),
        voices=dict(zip(heard, (2, 1), strict=True)),
        rooms=0,
        seed=0,
        cache=tmp_path / "cache",
    )
    encoder = str(waveform_model(tmp_path / "encoder.onnx"))
    teacher = LinearTeacher.listen(
        bank, encoder, (0,), ("neutral",), tmp_path / "cache", DistillWeights(), 0
    )
    for clip, copies in zip(heard, (3, 2), strict=True):
        assert len(bank.features[clip]) == len(teacher.states.values[clip]) == copies
        for rooms, states in zip(bank.features[clip], teacher.states.values[clip], strict=True):
            seconds = rooms[0].shape[1] / 100
            assert states.shape[1] / teacher.states.frame_rate_hz == pytest.approx(seconds, abs=0.1)
