"""A checkpoint becomes a pack with a report, or nothing at all."""

from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="converters need torch")
pytest.importorskip("onnx", reason="converters need onnx")

from making.corpus import emodb_like
from making.students import random_student

from edge_ser.cli.main import main
from edge_ser.converters.convert import Request, convert
from edge_ser.corpora import load_corpus
from edge_ser.errors import GateMissed
from edge_ser.frontend import LogMelSpec
from edge_ser.models.checkpoint import Checkpoint, load_student, save_student
from edge_ser.pack import open_pack
from edge_ser.parity import Gates

LOOSE = ["--min-agreement", "0", "--max-uar-change", "1", "--max-mean-error", "1"]
TRAINING = {
    "protocol": "speaker-independent",
    "train_speakers": ["emodb:03", "emodb:08", "emodb:09"],
    "test_speakers": ["emodb:10"],
    "corpora": {},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint and a corpus for it."""
    folder = tmp_path_factory.mktemp("convert")
    checkpoint = folder / "checkpoint.safetensors"
    save_student(Checkpoint(random_student(), LogMelSpec(), TRAINING), checkpoint)
    return checkpoint, emodb_like(folder / "emodb")


def run(made: tuple[Path, Path], out: Path, *flags: str) -> int:
    checkpoint, corpus = made
    return main(
        [
            "convert",
            str(checkpoint),
            "--out",
            str(out),
            "--calibration-data",
            f"emodb={corpus}",
            *list(flags),
        ]
    )


@pytest.fixture(scope="module")
def report(made: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("whole") / "pack"
    said = io.StringIO()
    with redirect_stdout(said):
        assert run(made, out, "--without-test-speakers", *LOOSE) == 0
    pack = open_pack(out)
    pack.verify()
    found: dict[str, Any] = json.loads(pack.read("report.json"))
    return {
        **found,
        "said": said.getvalue(),
        "page": pack.read("report.html").decode(),
        "manifest": pack.manifest,
    }


def test_every_layer_is_rounded_alone_and_the_worst_are_named(report: dict[str, Any]) -> None:
    costs = {cost["layer"]: cost["score_error"] for cost in report["sensitivity"]["layers"]}
    assert {"shallow0", "middle_attention", "fuse"} <= set(costs)
    assert all(cost > 0 for cost in costs.values())
    assert report["sensitivity"]["keep"] == sorted(costs, key=lambda name: -costs[name])[:2]
    whole = {cost["layer"]: cost["score_error"] for cost in report["sensitivity"]["together"]}
    assert whole["all"] > max(costs.values()) / 2


def test_precision_is_chosen_from_what_was_measured(report: dict[str, Any]) -> None:
    choice = report["precision"]
    rows = {row["precision"]: row for row in choice["candidates"]}
    assert set(rows) == {"int8", "mixed", "fp32"}
    assert rows["mixed"]["float_layers"] == report["sensitivity"]["keep"]
    chosen, fastest = choice["precision"], min(row["step_us"] for row in rows.values())
    assert rows[chosen]["step_us"] <= 1.1 * fastest + 0.1
    assert report["manifest"].targets["cpu"].precision == chosen
    told = re.search(r"takes (\d+) µs", choice["reason"])
    assert told is not None
    assert float(told[1]) == pytest.approx(rows[chosen]["step_us"], abs=1.0)  # rounded twice


def test_accuracy_on_test_speakers_is_told(report: dict[str, Any]) -> None:
    for name, figures in report["accuracy"].items():
        told = f"  {name:<9} UAR {figures['uar']:.3f} on {figures['n']} clips of test speakers"
        assert told in report["said"]
    assert set(report["accuracy"]) == {"float", "cpu"}


def test_calibration_says_what_really_ran(report: dict[str, Any]) -> None:
    clips = report["clips"]
    assert clips["speaker_disjoint"] is True
    assert "emodb:10" not in clips["calibration_speakers"]
    assert report["calibration"]["clips"] == clips["calibration"] > 0
    # A second of audio is 100 frames, less what the first window lacks, in steps of 8.
    assert report["calibration"]["steps"] == 13 * clips["calibration"]


def test_the_test_speakers_judge_and_nothing_else(report: dict[str, Any]) -> None:
    assert report["accuracy"]["cpu"]["n"] == report["accuracy"]["float"]["n"] == 3


def test_the_page_has_its_figures_and_loads_nothing(report: dict[str, Any]) -> None:
    page = report["page"]
    for part in ("Precision", "Parity", "Sensitivity of layers", "Activation ranges", "Confusion"):
        assert f"<h2>{part}</h2>" in page
    assert page.count("<svg") >= 3
    assert "http" not in page
    assert "<script" not in page


def test_every_rounded_form_has_its_biases_corrected(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_ser.converters import measured as module

    asked: list[tuple[int, bool, int]] = []
    real = module.rounded_weights

    def spy(
        weights: Any, means: Any, bits: int, ranges: Any = None, keep: Any = (),
        covariances: Any = None,
    ) -> Any:  # fmt: skip
        assert set(covariances) >= {"shallow0", "middle0", "high1", "fuse"}
        corrected = real(weights, means, bits, ranges, keep, covariances)
        assert (corrected.fuse.bias != weights.fuse.bias).any() or "fuse" in keep
        asked.append((bits, ranges is not None, len(keep)))
        return corrected

    monkeypatch.setattr(module, "rounded_weights", spy)
    assert run(made, tmp_path / "pack", "--without-test-speakers", *LOOSE) == 0
    # Twice for INT8: for the sensitivity of its layers, too.
    assert sorted(asked) == [(7, True, 0), (7, True, 0), (7, True, 2), (8, False, 0)]


def test_a_missed_gate_is_status_3_and_leaves_no_pack(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pack"
    flags = ["--without-test-speakers", "--max-mean-error", "0", "--targets", "cpu"]
    assert run(made, out, *flags) == 3
    told = capsys.readouterr().err
    assert "mean score error" in told
    assert "no pack was written" in told
    assert list(tmp_path.iterdir()) == []
    assert run(made, out, *flags, "--ignore-gates", "--precision", "int8") == 0
    assert json.loads((out / "report.json").read_text())["gates_missed"]


def test_measured_ranges_are_kept_for_the_same_model_and_clips(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    checkpoint, corpus = load_student(made[0]), made[1]
    clips = [c for c in load_corpus("emodb", corpus).clips if c.speaker != "emodb:10"]
    gates = Gates(agreement=0.0, uar_change=1.0, mean_score_error=1.0, worst_score_error=1.0)

    def ranges(seed: int) -> dict[str, Any]:
        request = Request(
            "kept", "1", clips, ("cpu",), precision="int8", cache=tmp_path / "cache",
            seed=seed, n_calibration=3, n_parity=2, n_sensitivity=1, gates=gates,
        )  # fmt: skip
        found: dict[str, Any] = convert(checkpoint, request, tmp_path / "pack")["calibration"]
        return found

    first, second, other = ranges(0), ranges(0), ranges(5)
    assert (first["from_cache"], second["from_cache"], other["from_cache"]) == (False, True, False)
    assert first["ranges"] == second["ranges"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], "is a test speaker of this checkpoint"),
        (["--without-test-speakers", "--targets", "gpu"], "choose of"),
        (["--without-test-speakers", "--min-agreement", "2"], "at least 0 and at most 1"),
    ],
)
def test_bad_flags_are_told(
    made: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    told: str,
) -> None:
    assert run(made, tmp_path / "pack", *flags) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_silence_cannot_calibrate(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = emodb_like(tmp_path / "emodb", ("03", "08", "09"), "WA")
    for path in corpus.iterdir():
        audio = path.read_bytes()
        path.write_bytes(audio[:44] + bytes(len(audio) - 44))
    assert run((made[0], corpus), tmp_path / "pack") == 2
    assert "calibration clips are silent" in capsys.readouterr().err
    assert not (tmp_path / "pack").exists()


def test_a_flag_without_a_folder_is_named(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["convert", str(made[0]), "--out", str(tmp_path / "pack")]
    assert main([*command, "--calibration-data", "emodb="]) == 2
    assert "--calibration-data emodb=: write it as corpus=DIR" in capsys.readouterr().err


def test_one_emotion_cannot_calibrate(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = emodb_like(tmp_path / "emodb", ("03", "08"), "W")
    assert run((made[0], corpus), tmp_path / "pack") == 2
    assert "calibrate with clips of every label" in capsys.readouterr().err
    assert not (tmp_path / "pack").exists()


def test_figures_of_another_reach_are_refused(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "deployed.json"
    figures.write_text('{"context": 9}')
    assert run(made, tmp_path / "pack", "--metrics", str(figures)) == 2
    assert "measured with --context 9" in capsys.readouterr().err
    assert not (tmp_path / "pack").exists()


@pytest.mark.parametrize(
    "figures", ["{}", '{"cross_validation": 5}', '{"cross_validation": {"corpora": {"emodb": 1}}}']
)
def test_figures_that_a_card_cannot_tell_are_refused_at_once(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], figures: str
) -> None:
    path = tmp_path / "results.json"
    path.write_text(figures)
    assert run(made, tmp_path / "pack", "--metrics", str(path)) == 2
    said = capsys.readouterr().err
    assert f"--metrics {path}: holds no cross_validation" in said
    assert "calibrating" not in said
    assert not (tmp_path / "pack").exists()


def test_a_shorter_attention_has_less_state(made: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "pack"
    flags = ["--targets", "cpu", "--without-test-speakers", "--ignore-gates"]
    assert run(made, out, "--context", "4", *flags) == 0
    states = open_pack(out).manifest.targets["cpu"].states
    shapes = {state.input: state.shape for state in states}
    assert shapes["attention.key.past"][0] == 4


def test_audio_of_another_rate_is_resampled(made: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("soxr", reason="other rates need soxr")
    corpus = emodb_like(tmp_path / "emodb", ("03", "08", "09"), "WA", rate_hz=8000)
    flags = ["--targets", "cpu", "--precision", "int8", *LOOSE]
    assert run((made[0], corpus), tmp_path / "pack", *flags) == 0


def test_a_missed_gate_of_all_forms_names_them(made: tuple[Path, Path], tmp_path: Path) -> None:
    clips = [c for c in load_corpus("emodb", made[1]).clips if c.speaker != "emodb:10"]
    request = Request(
        "none", "1", clips, ("cpu",), n_sensitivity=1, gates=Gates(mean_score_error=0.0)
    )
    with pytest.raises(GateMissed, match=r"int8: mean.*mixed: mean"):
        convert(load_student(made[0]), request, tmp_path / "pack")
