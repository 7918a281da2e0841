"""Training of the teachers and the baselines from the command line, on made-up corpora."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

torch = pytest.importorskip("torch")
for package in ("lightning_fabric", "librosa", "opensmile", "sklearn", "soundfile", "onnx"):
    pytest.importorskip(package)


from edge_ser.cli import main
from edge_ser.corpora import Clip, load_corpus, speaker_folds
from edge_ser.training.baselines import linear_fold
from edge_ser.training.semantic import open_encoder
from edge_ser.training.teachers import TeacherLoss
from edge_ser.training.tracks import (
    Track,
    TrackBatch,
    TrackBatches,
    assemble,
    known_labels,
    speech_spans,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from making.pitched import emotions_by_pitch

    return emotions_by_pitch(tmp_path_factory.mktemp("emodb"), "abcdefgh")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from making.encoder import waveform_model

    return waveform_model(tmp_path_factory.mktemp("encoder") / "encoder.onnx")


def train(model: str, corpus: Path, out: Path, *flags: str) -> int:
    return main(
        [
            "train", model, "--data", f"emodb={corpus}", "--labels", "anger,neutral,sadness",
            "--folds", "2", "--out", str(out), "--cache", str(corpus.parent / "cache"), *flags,
        ]
    )  # fmt: skip


SMALL = ("--width", "16", "--batch-size", "8", "--epochs", "6", "--learning-rate", "0.01")


def test_cross_attention_learns_and_resumes(
    corpus: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--encoder", str(encoder), "--functionals", "--pool", "2", *SMALL)
    assert train("cross-attention", corpus, tmp_path / "run", *flags, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["protocol"] == "speaker-independent"
    assert report["corpora"]["emodb"]["mean"]["uar"] > 0.6  # chance is 0.33
    assert len(report["corpora"]["emodb"]["folds"]) == 2
    assert report["parameters"] > 1000
    for fold in report["corpora"]["emodb"]["folds"]:
        assert fold["train_accuracy"] >= 0.9 * fold["accuracy"]
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == report
    assert (tmp_path / "run" / "fold1" / "member0.safetensors").exists()
    # A run that is complete does not train again and says the same.
    assert train("cross-attention", corpus, tmp_path / "run", *flags, "--json", "--resume") == 0
    captured = capsys.readouterr()
    again = json.loads(captured.out)
    assert again["corpora"] == report["corpora"]
    assert "epoch 6/6" not in captured.err
    # The state of another run is refused, not taken for this one.
    for other, message in (
        (("--no-feature-encoder",), "with config.feature_encoder True, not False"),
        (("--dropout", "0.3"), "not 0.3"),
        (("--epochs", "2"), "trained for 6 epochs already, 2 are asked for"),
    ):
        wider = [*flags, "--resume", *other]
        assert train("cross-attention", corpus, tmp_path / "run", *wider) == 2
        assert message in capsys.readouterr().err


def test_depth_weighted_learns(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = (*SMALL, "--protocol", "random", "--members", "2", "--validation", "0.2", "--linear")
    assert train("depth-weighted", corpus, tmp_path, *flags, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["protocol"] == "random"
    assert report["corpora"]["emodb"]["mean"]["uar"] > 0.6
    assert (tmp_path / "fold0" / "member1.safetensors").exists()
    assert (tmp_path / "fold1" / "linear.safetensors").exists()
    assert set(report["corpora"]["emodb"]["parts"]) == {"network", "linear"}


def test_depth_weighted_learns_from_a_speech_encoder(
    corpus: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hears = ("--branch", "spectral,semantic", "--encoder", str(encoder), "--layers", "0,1")
    linear = ("--linear", "wide", "--json")
    assert train("depth-weighted", corpus, tmp_path, *SMALL, *hears, *linear) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["corpora"]["emodb"]["mean"]["uar"] > 0.6
    assert set(report["corpora"]["emodb"]["parts"]) == {"network", "linear"}
    weights = load_file(tmp_path / "fold0" / "linear.safetensors")
    assert {name.split(".")[0] for name in weights} == {"side by side"}
    opened = open_encoder(str(encoder))  # means and deviations of all layers, not of two
    assert len(weights["side by side.mean"]) == 2 * opened.n_layers * opened.width
    assert train("depth-weighted", corpus, tmp_path / "x", "--branch", "semantic,loud") == 2
    assert "'loud' is no branch" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["baseline-egemaps", "baseline-encoder"])
def test_linear_baselines(
    kind: str, corpus: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hears = ("--encoder", str(encoder)) if kind == "baseline-encoder" else ()
    assert train(kind, corpus, tmp_path, *hears, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["model"] == kind
    assert report["corpora"]["emodb"]["pooled"]["n"] == 96
    assert report["corpora"]["emodb"]["mean"]["uar"] > 0.5


def test_speakers_of_a_test_part_are_not_learnt_from_as_extra_clips(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = load_corpus("emodb", corpus).clips
    for clip in speaker_folds(clips, 2)[0].test:  # the same speakers in other files
        other = tmp_path / "again" / clip.path.name
        other.parent.mkdir(exist_ok=True)
        other.write_bytes(clip.path.read_bytes() + b"\0")
    extra = ("--extra", f"emodb={other.parent}")
    found = []
    for flags in ((), extra):
        assert train("baseline-egemaps", corpus, tmp_path, "--fold", "0", "--json", *flags) == 0
        captured = capsys.readouterr()
        found.append(json.loads(captured.out)["corpora"])
    assert "their speakers are tested" in captured.err
    assert found[0] == found[1]
    small = ("--fold", "0", "--width", "16", "--epochs", "1", "--branch", "spectral")
    assert train("depth-weighted", corpus, tmp_path, *small, *extra) == 0
    with safe_open(tmp_path / "fold0" / "member0.safetensors", "numpy") as file:
        told = json.loads(file.metadata()["edge-ser"])["training"]
    assert told["test_speakers"]
    assert not set(told["train_speakers"]) & set(told["test_speakers"])


def test_a_baseline_answers_with_labels_of_the_corpus_only(tmp_path: Path) -> None:
    """As the models that it stands beside."""
    rng = np.random.default_rng(0)
    kinds = [("emodb", "anger"), ("emodb", "boredom"), ("ravdess", "anger"), ("ravdess", "calm")]
    clips = [
        Clip(tmp_path / f"{n}{corpus}{label}", corpus, f"{corpus}:{n % 2}", label, "")
        for n in range(8)
        for corpus, label in kinds
    ]
    vectors = {clip: rng.standard_normal(5).astype(np.float32) for clip in clips}
    (fold, _) = speaker_folds(clips, 2)
    result = linear_fold(vectors, fold, [], ("anger", "boredom", "calm"))
    for clip, logits in zip(fold.test, result.logits, strict=True):
        assert int(logits.argmin()) == (2 if clip.corpus == "emodb" else 1)


def test_the_switches_side_by_side(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.depth_ablation import main as ablation

    words = [
        "--data", f"emodb={corpus}", "--cache", str(corpus.parent / "cache"),
        "--out", str(tmp_path), "--only", "parallel,shallow", "--table", str(tmp_path / "t.md"),
        "--", "--labels", "anger,neutral,sadness", "--folds", "2", *SMALL[:4], "--epochs", "1",
    ]  # fmt: skip
    assert ablation([*words, "--fold", "1"]) == 0
    table = capsys.readouterr().out
    assert table.endswith((tmp_path / "t.md").read_text())
    rows = [line for line in table.splitlines() if line.startswith(("| parallel", "| shallow"))]
    sizes = [float(row.split("|")[3].split()[0]) for row in rows]
    assert sizes[1] < sizes[0]  # two fusions and poolings less
    assert "`--depths shallow`" in rows[1]
    assert ablation([*words, "--fold", "0"]) == 2  # another choice in the same folder
    assert "another --out" in capsys.readouterr().err
    assert ablation([*words[:6], "--only", "deepest"]) == 2


def test_wrong_flags_are_refused(
    corpus: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags, message in (
        (("--layers", "one"), "write numbers"),
        (("--layers", "9", "--encoder", str(encoder)), "layers 0 to 2"),
        (("--members", "0"), "at least 1"),
        (("--validation", "0.9"), "between 0 and 0.5"),
        (("--width", "31"), "must be even"),
        (("--encoder", str(tmp_path / "none.ort"), "--cache", str(tmp_path)), "no such file"),
    ):
        assert train("cross-attention", corpus, tmp_path / "x", *flags) == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.npz"))  # nothing was computed before it was told
    assert train("depth-weighted", corpus, tmp_path / "x", "--depths", "deepest") == 2
    for flags in (
        ("--dropout", "1"),
        ("--masks", "-1"),
        ("--ema", "1"),
        ("--muon-rate", "2"),
        ("--weight-decay", "x"),
    ):
        assert train("depth-weighted", corpus, tmp_path / "x", *flags) == 2
        assert flags[0] in capsys.readouterr().err
    for kind, flag in (
        ("cross-attention", "--warp"), ("depth-weighted", "--clean-share"),
        ("cross-attention", "--muon-rate"),
        ("baseline-egemaps", "--dropout"), ("baseline-encoder", "--learning-rate"),
        ("baseline-egemaps", "--validation"), ("student", "--validation"),
    ):  # fmt: skip
        assert train(kind, corpus, tmp_path / "x", flag, "0.1") == 2
        assert f"{flag} has no part in training {kind}" in capsys.readouterr().err
    for kind, more in (
        ("cross-attention", ("--fusion", "progressive")), ("depth-weighted", ("--functionals",)),
        ("baseline-egemaps", ("--layers", "1")), ("baseline-encoder", ("--linear",)),
        ("student", ("--members", "2")), ("depth-weighted", ("--unfreeze", "1")),
    ):  # fmt: skip
        assert train(kind, corpus, tmp_path / "x", *more) == 2
        assert f"{more[0]} has no part in training {kind}" in capsys.readouterr().err
    assert train("student", corpus, tmp_path / "x", "--epochs", "0") == 2
    for kind, used in (
        ("depth-weighted", ("--functionals",)), ("cross-attention", ("--branch", "cepstral")),
        ("baseline-encoder", ("--linear", "wide")), ("student", ("--skip-unreadable",)),
    ):  # fmt: skip
        assert train(kind, corpus, tmp_path / "x", *used) == 2
        assert f"{used[0]} has no part in training {kind}" in capsys.readouterr().err


def test_unreadable_clips_are_named_or_left_out(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "emodb"
    broken.mkdir()
    for path in corpus.glob("*.wav"):
        (broken / path.name).write_bytes(path.read_bytes())
    (broken / "03a01Wa.wav").write_bytes(b"torn")
    assert train("baseline-egemaps", broken, tmp_path / "x") == 2
    assert "03a01Wa.wav" in capsys.readouterr().err
    assert train("baseline-egemaps", broken, tmp_path / "x", "--skip-unreadable", "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["corpora"]["emodb"]["pooled"]["n"] == 95
    assert "1 of 96 clips could not be read" in captured.err
    for path in broken.glob("*N*.wav"):
        path.write_bytes(b"torn")
    assert train("baseline-egemaps", broken, tmp_path / "x", "--skip-unreadable") == 2
    assert "has no neutral to train on" in capsys.readouterr().err


def test_what_cannot_be_judged_is_refused_before_training(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = tmp_path / "emodb"
    two.mkdir()
    for speaker in ("03", "08"):
        for path in corpus.glob(f"{speaker}*[ab].wav"):
            (two / path.name).write_bytes(path.read_bytes())
    (two / "photos.wav").write_bytes(b"another")
    assert train("depth-weighted", two, tmp_path / "x", *SMALL, "--linear", "wide") == 2
    said = capsys.readouterr().err
    assert "cannot choose its shrinkage" in said
    assert "epoch 1" not in said
    assert "emodb: 1 audio files are not named like" in said
    assert "12 of the 535 clips" in said
    assert train("depth-weighted", two, tmp_path / "x", *SMALL, "--validation", "0.2") == 2
    assert "no speaker can be held back" in capsys.readouterr().err


def made_track(clips: list[Clip], rate_hz: float | None, seconds: float) -> Track:
    rng = np.random.default_rng(0)
    if rate_hz is None:
        return Track({clip: [rng.standard_normal(5)] for clip in clips}, None)
    frames = round(seconds * rate_hz)
    return Track({c: [rng.standard_normal((3, frames)).astype(np.float32)] for c in clips}, rate_hz)


def test_tracks_are_cut_at_the_same_time(corpus: Path) -> None:
    clips = list(load_corpus("emodb", corpus).clips[:2])
    tracks = {
        "mel": made_track(clips, 100.0, 2.0),
        "states": made_track(clips, 41.75, 2.0),
        "whole": made_track(clips, None, 2.0),
    }
    inputs = assemble(tracks, clips, [0, 0], [(0.5, 1.5), (1.0, 1.4)])
    assert inputs["mel"].shape == (2, 3, 100)
    assert inputs["mel_mask"].sum(1).tolist() == [100, 40]
    assert inputs["states_mask"].sum(1).tolist() == [42, 17]
    np.testing.assert_array_equal(
        inputs["mel"][1, :, :40], tracks["mel"].values[clips[1]][0][:, 100:140]
    )
    assert not inputs["mel"][1, :, 40:].any()
    assert inputs["whole"].shape == (2, 5)
    assert "whole_mask" not in inputs


def test_an_epoch_hears_every_clip_once(corpus: Path) -> None:
    clips = list(load_corpus("emodb", corpus).clips[:12])
    mel = made_track(clips, 100.0, 1.0)
    batches = TrackBatches(
        {"mel": mel}, speech_spans(mel, clips), clips, ("anger", "neutral", "sadness"),
        window_s=0.5, batch_size=4,
    )  # fmt: skip
    found = list(batches.epoch(np.random.default_rng(0)))
    assert len(found) == len(batches) == 3
    targets = sorted(int(t) for batch in found for t in batch.target)
    assert targets == sorted(batches.labels.index(clip.label) for clip in clips)
    assert all(batch.inputs["mel"].shape[2] <= 50 for batch in found)


def test_a_corpus_is_only_asked_for_its_own_labels(tmp_path: Path) -> None:
    names = [("emodb", "anger"), ("emodb", "boredom"), ("ravdess", "anger"), ("ravdess", "calm")]
    clips = [Clip(tmp_path / str(n), c, f"{c}:1", label, "") for n, (c, label) in enumerate(names)]
    labels = ("anger", "boredom", "calm")
    known = known_labels(clips, labels, clips)
    assert known.tolist() == [[True, True, False]] * 2 + [[True, False, True]] * 2
    stranger = [Clip(tmp_path / "x", "tess", "tess:1", "calm", "")]
    assert known_labels(stranger, labels, clips).all()
    # Logits of labels that cannot be do not change the loss.
    target = torch.tensor([labels.index(label) for _, label in names])
    batch = TrackBatch({}, target, torch.ones(4), torch.from_numpy(known))
    scores = torch.zeros(4, 3)
    scores[:2, 2], scores[2:, 1] = 50.0, 50.0
    found = TeacherLoss(0.1)(lambda: scores, batch, np.random.default_rng(0))
    assert float(found) == pytest.approx(np.log(2))
