from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from benchmarks.results import main
from edge_ser.metrics import score

LABELS = ("anger", "neutral", "sadness")


def write_run(folder: Path, model: str, protocol: str, accuracy: float) -> Path:
    """A run whose 40 clips are right with a share of ``accuracy``."""
    truth = np.arange(40) % 3
    predicted = truth.copy()
    predicted[round(40 * accuracy) :] = (predicted[round(40 * accuracy) :] + 1) % 3
    scores = score(truth, np.eye(3)[predicted], LABELS)
    brief = {key: getattr(scores, key) for key in ("accuracy", "uar", "macro_f1")}
    report = {
        "model": model,
        "command": f"edge-ser train {model} --out {folder.name}",
        "parameters": 1_140_000,
        "protocol": protocol,
        "seed": 0,
        "labels": list(LABELS),
        "corpora": {
            "emodb": {
                "folds": [brief, brief],
                "mean": brief,
                "sd": dict.fromkeys(brief, 0.02),
                "pooled": scores.to_dict(),
            }
        },
    }
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(report))
    return folder


def test_the_page_says_what_the_runs_say(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "deep", "depth-weighted", "random", 0.9),
        write_run(tmp_path / "deep-si", "depth-weighted", "speaker-independent", 0.75),
        write_run(tmp_path / "base", "baseline-egemaps", "speaker-independent", 0.5),
    ]
    out = tmp_path / "docs" / "results.md"
    assert main([*map(str, runs), "--out", str(out)]) == 0
    text = out.read_text()
    assert "90.0 ± 2.0" in text
    assert "6.6 points short" in text  # 96.58 is published
    assert "21.6 points short; a harder protocol" in text
    assert "speakers overlap" in text.lower()
    assert "edge-ser train depth-weighted --out runs/deep-si" in text
    independent = text[text.index("## speaker-independent") :]
    assert independent.index("deep-si") < independent.index("base")  # best first
    for name in ("deep", "deep-si", "base"):
        figure = out.parent / "figures" / f"confusion-{name}-emodb.svg"
        assert figure.stat().st_size > 1000
        assert f"figures/{figure.name}" in text


def test_unfinished_or_foreign_runs_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "results.md")
    assert main([str(tmp_path / "nothing"), "--out", out]) == 2
    (tmp_path / "results.json").write_text('{"hello": 1}')
    assert main([str(tmp_path), "--out", out]) == 2
    assert "not written by edge-ser train" in capsys.readouterr().err
    assert not Path(out).exists()


def test_folds_that_were_not_run_are_told(tmp_path: Path) -> None:
    run = tmp_path / "deep"
    run.mkdir()
    for fold, accuracy in ((0, 0.9), (3, 0.5)):
        made = write_run(tmp_path / f"one{fold}", "depth-weighted", "random", accuracy)
        report = json.loads((made / "results.json").read_text())
        report["command"] = (
            f"edge-ser train depth-weighted --data emodb=/home/me/emodb --cache=/home/me/cache "
            f"--folds=5 --fold {fold} --out /home/me/deep --resume"
        )
        figures = report["corpora"]["emodb"]
        figures["folds"] = figures["folds"][:1]
        figures["parts"] = {"network": figures["mean"], "linear": figures["mean"]}
        (run / f"fold{fold}").mkdir()
        (run / f"fold{fold}" / "results.json").write_text(json.dumps(report))
    out = tmp_path / "page.md"
    assert main([str(run), "--out", str(out), "--keep", str(tmp_path / "kept")]) == 0
    text = out.read_text()
    assert "2 of 5 (the others were not run)" in text
    assert "| 80 | 70.0 ± 20.0 |" in text
    assert "its linear part alone" in text
    assert "`edge-ser train depth-weighted --data emodb=DIR --folds 5 --out runs/deep`" in text
    assert "/home" not in (tmp_path / "kept" / "deep.json").read_text()
    # What was kept makes the same page again.
    again = tmp_path / "again.md"
    figure = tmp_path / "figures" / "confusion-deep-emodb.svg"
    drawn = figure.read_bytes()
    assert main([str(tmp_path / "kept" / "deep.json"), "--out", str(again)]) == 0
    assert again.read_text() == text
    assert figure.read_bytes() == drawn


def test_a_run_of_one_fold_is_named_after_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("deep", "base"):
        (tmp_path / name).mkdir()
        write_run(tmp_path / name / "fold0", "depth-weighted", "random", 0.9)
    parts = [str(tmp_path / name / "fold0" / "results.json") for name in ("deep", "base")]
    assert main([*parts, "--out", str(tmp_path / "page.md")]) == 0
    text = (tmp_path / "page.md").read_text()
    assert "| deep |" in text
    assert "| base |" in text
    assert main([parts[0], parts[0], "--out", str(tmp_path / "page.md")]) == 2
    assert "two runs are named 'deep'" in capsys.readouterr().err
