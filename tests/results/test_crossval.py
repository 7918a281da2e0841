"""What the pooled figures of deployed folds say of confidence, and of folds that are missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the converter needs torch")
pytest.importorskip("onnx", reason="the converter needs onnx")

from making.students import random_student

from benchmarks.crossval import _checked, _parted, main
from benchmarks.pooled import _confidence, _resampled
from edge_ser.corpora import Clip
from edge_ser.errors import InputError
from edge_ser.frontend import LogMelSpec
from edge_ser.models.checkpoint import Checkpoint, save_student

LABELS = ("anger", "neutral")


def rows(corpus: str, sure: float, right: float) -> list[tuple[int, Clip, dict[str, float]]]:
    """400 clips in four folds, called anger with one confidence, right at one rate."""
    truth = np.where((np.arange(400) * 7) % 100 < round(100 * right), "anger", "neutral")
    return [
        (i % 4, Clip(Path(f"{i}"), corpus, f"{corpus}:{i % 8}", str(label), ""), found)
        for i, label in enumerate(truth)
        for found in [{"anger": sure, "neutral": 1 - sure}]
    ]


def test_two_corpora_whose_errors_cancel_are_told_apart() -> None:
    found = _confidence([*rows("emodb", 0.8, 0.7), *rows("ravdess", 0.8, 0.9)], LABELS)
    assert found["ece_after"] < 0.04
    assert found["corpora"]["emodb"]["too_sure_by"] == pytest.approx(0.1, abs=0.02)
    assert found["corpora"]["ravdess"]["too_sure_by"] == pytest.approx(-0.1, abs=0.02)
    for name in ("emodb", "ravdess"):
        assert found["corpora"][name]["ece_after"] == pytest.approx(0.1, abs=0.02)


def checkpoints(
    run: Path, tested: dict[int, list[str]], protocol: str = "speaker-independent"
) -> list[Path]:
    paths = []
    for fold, speakers in tested.items():
        training = {"protocol": protocol, "test_speakers": speakers}
        path = run / f"fold{fold}" / "checkpoint.safetensors"
        save_student(Checkpoint(random_student(), LogMelSpec(), training), path)
        paths.append(path)
    return paths


def clips(*speakers: str) -> list[Clip]:
    return [Clip(Path(f"{s}.wav"), "emodb", s, "anger", "") for s in speakers]


def test_a_missing_fold_is_no_smaller_cross_validation(tmp_path: Path) -> None:
    paths = checkpoints(tmp_path, {0: ["a"], 2: ["b"], 10: ["c"]})
    assert _checked(paths, clips("a", "b", "c")) == "3-fold speaker-independent"
    assert _checked(paths, clips("a", "b", "c", "d")) == "folds 0, 2, 10 alone, speaker-independent"


def test_folds_that_do_not_belong_together_or_lack_clips_are_told(tmp_path: Path) -> None:
    paths = checkpoints(tmp_path, {0: ["a"], 1: ["b"]})
    with pytest.raises(InputError, match=r"fold1: no clip of its test speaker b; give --data"):
        _checked(paths, clips("a"))
    paths += checkpoints(tmp_path, {2: ["c"]}, "leave-one-speaker-out")
    with pytest.raises(InputError, match=r"fold2: its labels, protocol or recipe are not those of"):
        _checked(paths, clips("a", "b", "c"))


def test_one_fold_is_no_cross_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for tested, says in (({}, "no checkpoint in fold0/"), ({3: ["a"]}, "only fold3")):
        checkpoints(tmp_path, tested)
        monkeypatch.setattr("sys.argv", ["crossval", str(tmp_path), "--data", "emodb=E"])
        assert main() == 2
        assert says in capsys.readouterr().err


def test_a_speaker_is_tested_once(tmp_path: Path) -> None:
    paths = checkpoints(tmp_path, {0: ["a"], 1: ["b", "a"]})
    with pytest.raises(InputError, match="fold1: tests a, whom another fold tests already"):
        _checked(paths, clips("a", "b"))


def test_folds_of_another_recipe_or_without_test_speakers_are_told(tmp_path: Path) -> None:
    paths = checkpoints(tmp_path, {0: ["a"], 1: ["b"]})
    other = {"protocol": "speaker-independent", "test_speakers": ["b"], "recipe": {"frames": 8}}
    save_student(Checkpoint(random_student(), LogMelSpec(), other), paths[1])
    with pytest.raises(InputError, match="fold1: its labels, protocol or recipe are not those"):
        _checked(paths, clips("a", "b"))
    save_student(Checkpoint(random_student(), LogMelSpec(), {}), paths[1])
    with pytest.raises(InputError, match="does not say on whom it is to be tested"):
        _checked(paths, clips("a", "b"))


def test_random_folds_say_nothing_of_strangers(tmp_path: Path) -> None:
    paths = checkpoints(tmp_path, {0: ["a", "b"], 1: ["a", "b"]}, "random")
    with pytest.raises(InputError, match="fold0: its folds are random"):
        _checked(paths, clips("a", "b"))


def test_ranges_come_from_corpora_that_were_only_trained_on_too() -> None:
    tested, extra = clips("a", "b"), clips("c")
    boredom = Clip(Path("d.wav"), "emodb", "d", "boredom", "")
    train, test = _parted([*tested, boredom], [*extra, boredom], LABELS, {"b"})
    assert [clip.speaker for clip in train] == ["a", "c"]
    assert [clip.speaker for clip in test] == ["b"]


def test_what_other_speakers_would_change() -> None:
    speakers = [f"s{i // 40}" for i in range(400)]
    truth = [i % 2 for i in range(400)]
    found = np.array(truth)
    assert _resampled(speakers, truth, found, LABELS) == [1.0, 1.0]
    found[:200] = 0  # of half of the speakers, one label of two is never found: 0.5 of 1
    interval = _resampled(speakers, truth, found, LABELS)
    # Of ten draws at even odds, 2 to 8 are of either kind in 98 of 100.
    assert interval == [pytest.approx(0.6), pytest.approx(0.9)]


def test_nothing_is_said_of_other_speakers_where_there_are_too_few() -> None:
    truth = [0, 1] * 40
    four = [f"s{i // 20}" for i in range(80)]
    assert _resampled(four, truth, np.array(truth), LABELS) is None
    ten = [f"s{i // 8}" for i in range(80)]
    only_one_is_angry = [int(i == 3) for i in range(80)]
    assert _resampled(ten, only_one_is_angry, np.zeros(80, int), LABELS) is None
