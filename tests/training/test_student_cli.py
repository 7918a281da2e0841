"""``distill`` and ``train student`` from the command line, on a made-up corpus."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
for package in (
    "lightning_fabric",
    "pytorch_optimizer",
    "audiomentations",
    "sklearn",
    "soundfile",
    "onnx",
):
    pytest.importorskip(package)

from edge_ser.cli import main
from edge_ser.cli.main import build_parser
from edge_ser.cli.train_student import recipe_of
from edge_ser.labels import SIX_LABELS
from edge_ser.models import checkpoint
from edge_ser.models.checkpoint import load_student, save_student

FAST = ("--size", "small", "--workers", "1", "--voices", "1", "--learning-rate", "0.005")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from making.pitched import emotions_by_pitch

    soundfile = pytest.importorskip("soundfile")
    folder = emotions_by_pitch(tmp_path_factory.mktemp("corpus") / "emodb", "abcd")
    for speaker in ("03", "08", "09", "10"):  # a class that is not asked for, of every speaker
        samples, rate = soundfile.read(folder / f"{speaker}a01Na.wav")
        soundfile.write(folder / f"{speaker}a02La.wav", samples[400:], rate)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from making.encoder import waveform_model

    return waveform_model(tmp_path_factory.mktemp("encoder") / "encoder.onnx")


def run(command: tuple[str, ...], corpus: Path, out: Path, *flags: str) -> int:
    return main(
        [
            *command, "--data", f"emodb={corpus}", "--labels", "anger,neutral,sadness",
            "--folds", "2", "--out", str(out), "--cache", str(corpus.parent / "cache"), *flags,
        ]
    )  # fmt: skip


def test_a_student_is_distilled_fold_by_fold_and_then_from_everyone(
    corpus: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile = pytest.importorskip("soundfile")
    speech = tmp_path / "speech"
    (speech / "somebody").mkdir(parents=True)
    samples, rate = soundfile.read(corpus / "03a01Na.wav")
    soundfile.write(speech / "somebody" / "words.wav", samples[:-800], rate)
    (speech / "thief").mkdir()
    shutil.copy(corpus / "03a01Na.wav", speech / "thief" / "tested.wav")
    distill = ("distill", "--teacher", str(encoder), "--layers", "0,1")
    flags = (*FAST, "--unlabelled", f"speech={speech}", "--json")
    assert run(distill, corpus, tmp_path / "run", *flags, "--epochs", "8") == 0
    captured = capsys.readouterr()
    assert "speakers unheard" in captured.err
    assert "1 extra clips left out: their audio is tested as well" in captured.err
    report = json.loads(captured.out)
    assert report["corpora"]["emodb"]["mean"]["uar"] > 0.6
    lesson = load_student(tmp_path / "run" / "fold1" / "checkpoint.safetensors").training
    assert lesson["teacher"]["layers"] == [0, 1]
    assert not set(lesson["test_speakers"]) & set(lesson["train_speakers"])
    everyone = (*flags, "--epochs", "8", "--fold", "all")
    assert run(distill, corpus, tmp_path / "run", *everyone) == 0
    path = json.loads(capsys.readouterr().out)["checkpoint"]
    training = load_student(Path(path)).training
    assert training["calibration"] == report["calibration"]
    assert "speech:somebody" in training["train_speakers"]
    assert "speech:thief" not in training["train_speakers"]
    # A calibration of other students than this one is not taken over.
    alone = ("--no-depth-evidence", *everyone)
    assert run(distill, corpus, tmp_path / "run", *alone, "--resume") == 2
    assert "made with evidence of the depths" in capsys.readouterr().err
    assert run(distill, corpus, tmp_path / "run", *everyone, "--label", "0.5") == 2
    assert "fold0 was trained by another recipe than this one" in capsys.readouterr().err
    results = tmp_path / "run" / "results.json"
    wider = {**report, "corpora": {**report["corpora"], "ravdess": {}}}
    results.write_text(json.dumps(wider))
    assert run(distill, corpus, tmp_path / "run", *everyone) == 2
    assert "tested emodb, ravdess, not emodb" in capsys.readouterr().err
    results.write_text('{"labels": []')
    assert run(distill, corpus, tmp_path / "run", *everyone) == 2
    assert "results.json is damaged" in capsys.readouterr().err
    results.write_text(json.dumps(report))
    older = tmp_path / "run" / "fold0" / "checkpoint.safetensors"
    checkpoint = load_student(older)
    fitted = {"depth_evidence": {"domains": ["emodb"], "shrinkage": 0.5, "temperature": 1.0}}
    save_student(replace(checkpoint, training={**checkpoint.training, **fitted}), older)
    assert run(distill, corpus, tmp_path / "run", *everyone) == 2
    assert "fold0 was fitted by an older edge-ser" in capsys.readouterr().err
    # But what was trained serves both: only the evidence is left away.
    before = load_student(tmp_path / "run" / "fold1" / "checkpoint.safetensors").training
    again = (*flags, "--epochs", "8", "--no-depth-evidence", "--resume")
    assert run(distill, corpus, tmp_path / "run", *again) == 0
    captured = capsys.readouterr()
    assert "epoch 8/8" not in captured.err
    assert json.loads(captured.out)["depth_evidence"] is False
    after = load_student(tmp_path / "run" / "fold1" / "checkpoint.safetensors").training
    assert (before["depth_evidence"] or {}).get("domains") in (None, ["emodb"])
    assert after["depth_evidence"] is None


def test_a_last_layer_that_no_lesson_taught_is_fitted(
    corpus: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    distill = ("distill", "--teacher", str(encoder), "--layers", "0,1")
    states_alone = ("--verdict", "0", "--evidence", "0", "--no-depth-evidence")
    flags = (*FAST, *states_alone, "--epochs", "8", "--fold", "0", "--json")
    assert run(distill, corpus, tmp_path, *flags) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["corpora"]["emodb"]["mean"]["uar"] > 0.6


def test_a_student_learns_from_labels_alone(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = (*FAST, "--fold", "0", "--json")
    assert run(("train", "student"), corpus, tmp_path, *flags, "--epochs", "8") == 0
    first = json.loads(capsys.readouterr().out)
    assert first["corpora"]["emodb"]["mean"]["uar"] > 0.6
    assert run(("train", "student"), corpus, tmp_path, *flags, "--epochs", "8", "--resume") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["corpora"] == first["corpora"]
    assert "epoch 8/8" not in captured.err


def test_a_plain_student_of_everyone_takes_its_own_epochs_but_no_other_recipe(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = ("train", "student")
    assert run(plain, corpus, tmp_path, *FAST, "--epochs", "2") == 0
    everyone = (*FAST, "--epochs", "1", "--fold", "all")
    assert run(plain, corpus, tmp_path, *everyone) == 0
    # Folds of a version that knew no Muon are of the same recipe without it.
    described = checkpoint.read_description

    def older(path: Path) -> dict[str, Any]:
        description = described(path)
        del description["training"]["recipe"]["fit"]["muon_rate"]
        return description

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "read_description", older)
        assert run(plain, corpus, tmp_path, *everyone) == 0
    capsys.readouterr()
    assert run(plain, corpus, tmp_path, *everyone, "--batch-size", "16") == 2
    assert "was trained by another recipe than this one" in capsys.readouterr().err


def test_a_label_that_a_later_fold_lacks_is_told_before_the_first_is_trained(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "emodb"
    shutil.copytree(corpus, folder)
    for path in (*folder.glob("03a01T*"), *folder.glob("08a01T*")):
        path.unlink()  # sadness of 09 and 10 is left, and each of them is tested once
    alone = ("--protocol", "leave-one-speaker-out")
    assert run(("distill",), folder, tmp_path / "run", *FAST, *alone) == 2
    said = capsys.readouterr().err
    assert "fold 2: sadness: too few speakers to train on (emodb:10)" in said
    assert "fewer --folds, another --seed, or leave it out of --labels" in said
    assert not (tmp_path / "run").exists()


def test_an_interrupted_training_says_how_it_goes_on(
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ctrl_c(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edge_ser.training.run_student.fit", ctrl_c)
    assert run(("train", "student"), corpus, tmp_path, *FAST, "--fold", "0") == 130
    said = capsys.readouterr().err
    assert f"interrupted; --resume goes on after the last whole epoch in {tmp_path}" in said


def test_what_cannot_be_distilled_is_told(
    corpus: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    distill = ("distill", "--teacher", str(encoder))
    assert run(distill, corpus, tmp_path, *FAST, "--layers", "7") == 2
    assert "has layers 0 to" in capsys.readouterr().err
    for flag in ("--extra", "--unlabelled"):
        assert run(distill, corpus, tmp_path, *FAST, flag, f"emodb={corpus}") == 2
        assert f"emodb stands with --data and {flag}, so each" in capsys.readouterr().err
        out = ("--protocol", "held-out-corpus", flag, f"emodb={corpus.parent}")
        assert run(distill, corpus, tmp_path, *FAST, *out) == 2
        assert f"emodb stands with --data and {flag}, but held-out" in capsys.readouterr().err
    missing = ("--unlabelled", f"speech={tmp_path / 'nowhere'}")
    assert run(distill, corpus, tmp_path, *FAST, *missing) == 2
    assert "nowhere" in capsys.readouterr().err
    idle = ("--label", "0", "--verdict", "0", "--evidence", "0", "--states", "0")
    assert run(distill, corpus, tmp_path, *FAST, "--layers", "0", *idle) == 2
    assert "nothing to learn" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("taught", "flags"),
    [
        (True, ("--fold", "all", "--learning-rate", "1e38", "--batch-size", "64")),
        (True, ("--fold", "0", "--weight-decay", "1e30")),
        (False, ("--fold", "0", "--learning-rate", "1e9")),
    ],
)
def test_a_training_that_ran_away_leaves_no_checkpoint(
    corpus: Path,
    encoder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    taught: bool,
    flags: tuple[str, ...],
) -> None:
    distill = ("distill", "--teacher", str(encoder), "--layers", "0,1")
    command = distill if taught else ("train", "student")
    assert run(command, corpus, tmp_path, *FAST, "--epochs", "1", *flags) == 2
    told = capsys.readouterr().err
    assert "the training ran away; take a lower --learning-rate, --muon-rate or" in told
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {"state.pt"}


@pytest.mark.parametrize(
    ("verb", "taught", "defaults"),
    [("distill", True, (16, 6e-3, 1.5e-2, 24)), ("train student", False, (8, 2e-3, 0.0, 40))],
)
def test_each_way_of_learning_has_its_steps_unless_told(
    verb: str, taught: bool, defaults: tuple[int, float, float, int]
) -> None:
    def steps(*flags: str) -> tuple[int, float, float, int]:
        arguments = [*verb.split(), "--data", "emodb=x", "--out", "y", *flags]
        recipe = recipe_of(build_parser(arguments).parse_args(arguments), SIX_LABELS, taught)
        fit = recipe.fit
        return recipe.batch_size, fit.learning_rate, fit.muon_rate, fit.epochs

    assert steps() == defaults
    told = ("--batch-size", "4", "--learning-rate", "0.1", "--muon-rate", "0.2", "--epochs", "3")
    assert steps(*told) == (4, 0.1, 0.2, 3)


def test_the_teacher_alone_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distill", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "weight of the labels; 0 leaves it out (default: 0)" in told
    assert "weight of the encoder's states, frame by frame; 0 leaves it out (default: 2)" in told
