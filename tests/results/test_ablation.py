"""The ablation of lessons: the command of each row, and a row that keeps what makes it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="benchmarks.ablation needs the train extra")

from benchmarks import ablation


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Words of every training that was asked for; none is run."""
    words: list[list[str]] = []

    def train(argv: list[str]) -> int:
        words.append(argv)
        return 0

    monkeypatch.setattr(ablation, "edge_ser", train)
    monkeypatch.setattr(ablation, "table", lambda runs: "| table |\n")
    return words


def run(out: Path, only: str, *more: str) -> int:
    data = ["--data", "emodb=E", "--unlabelled", "tess=T", "--fold", "0"]
    return ablation.main([*data, "--out", str(out), "--only", only, "--", *more])


def last(words: list[str], flag: str) -> str:
    """The value that the command line ends up with."""
    return words[len(words) - 1 - words[::-1].index(flag) + 1]


def test_a_row_has_the_last_word_on_what_makes_it(asked: list[list[str]], tmp_path: Path) -> None:
    flags = ("--layers", "1,3", "--states", "1", "--dropout", "0")
    assert run(tmp_path, "distilled,one-layer,no-states", *flags) == 0
    distilled, layers, states = asked
    assert last(distilled, "--layers") == last(states, "--layers") == "1,3"
    assert last(layers, "--layers") == "2"
    assert last(states, "--states") == "0"
    assert all(last(words, "--dropout") == "0" for words in asked)
    assert (tmp_path / "ablation.md").read_text() == "| table |\n"


def test_only_a_taught_student_hears_clips_without_labels(
    asked: list[list[str]], tmp_path: Path
) -> None:
    assert run(tmp_path, "plain,labels-only") == 0
    plain, labels_only = asked
    assert plain[:2] == ["train", "student"]
    assert "--unlabelled" not in plain
    assert last(labels_only, "--unlabelled") == "tess=T"
    assert {last(words, "--out") for words in asked} == {
        str(tmp_path / "plain"),
        str(tmp_path / "labels-only"),
    }


def test_an_unknown_row_is_named(
    asked: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "distilled,deepest") == 2
    assert "--only deepest: choose of distilled" in capsys.readouterr().err
    assert not asked
