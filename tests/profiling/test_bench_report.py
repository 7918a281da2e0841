from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edge_ser.cli import main
from edge_ser.errors import InputError
from edge_ser.pages.svg import Axis, Plot, nice_ticks
from edge_ser.runtime.bench.report import render_page, write_report
from edge_ser.runtime.bench.run import SCENARIOS, BenchRun, BenchSettings, bench
from edge_ser.runtime.bench.text import describe


@pytest.fixture(scope="module")
def run(pack_path: Path, voice_wav: Path) -> BenchRun:
    settings = BenchSettings(
        pack_path, audio=voice_wav, seconds=8, warmup_steps=2, scenarios=SCENARIOS, processes=0
    )
    return bench(settings)


@pytest.fixture(scope="module")
def page(run: BenchRun) -> str:
    return render_page(run)


class Structure(HTMLParser):
    """Notes tags, and that every one that was opened is closed in turn."""

    VOID = ("meta",)

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(page: str):
    structure = Structure()
    structure.feed(page)
    assert structure.open == []
    attributes = [attributes for _, attributes in structure.seen]
    assert not any("src" in a or "href" in a for a in attributes)
    assert not re.search(r"https?://|url\(|@import|<script", page)
    assert ("html", {"lang": "en"}) in structure.seen


def test_every_figure_speaks_to_a_screen_reader(page: str):
    figures = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(figures) == 4
    ids = []
    for figure in figures:
        root = ElementTree.fromstring(figure)
        assert root.get("role") == "img"
        named = root.get("aria-labelledby").split()
        inside = [element.get("id") for element in root if element.tag in ("title", "desc")]
        assert named == inside
        assert all(element.text for element in root if element.tag in ("title", "desc"))
        ids += inside
    assert len(set(ids)) == len(ids)


def test_the_page_has_the_numbers_of_the_run(run: BenchRun, page: str):
    for key in ("p50", "p90", "p99", "p999", "max"):
        assert f"<td>{run.document['latency_ms'][key]:.4f}</td>" in page
    for name in run.document["stages"]:
        assert f'<th scope="row">{name}</th>' in page
    many = run.document["multi_stream"]
    for result in (many, many["whole_machine"]):
        assert f"<strong>{result['streams']}</strong>" in page
        for trial in result["trials"]:
            row = f'<tr><th scope="row">{trial["streams"]}</th><td>{trial["ticks"]}</td>'
            assert row in page
    assert run.document["machine"]["id"] in page


def test_what_was_not_measured_is_not_on_the_page(run: BenchRun):
    document = {k: v for k, v in run.document.items() if k not in ("multi_stream", "offline")}
    page = render_page(BenchRun(document, run.times))
    assert "Streams per core" not in page
    assert page.count("<svg") == 3


def test_several_threads_are_not_called_one_core(run: BenchRun):
    assert "Streams per core" in render_page(run)
    assert "live streams on one core, 1 thread" in describe(run.document)
    document = copy.deepcopy(run.document)
    document["threads"] = document["multi_stream"]["threads"] = 4
    for told in (render_page(BenchRun(document, run.times)), describe(document)):
        readable = told.partition("<details>")[0]
        assert "live streams in one process, 4 threads" in readable
        assert not re.search("(on|of) one core|per core", readable)


def test_names_cannot_break_the_page(run: BenchRun):
    document = {**run.document, "pack": "<script>alert(1)</script>"}
    page = render_page(BenchRun(document, run.times))
    assert "<script" not in page


def test_a_page_that_cannot_be_written_is_an_error(run: BenchRun, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_report(run, tmp_path / "file" / "r.html")


def test_the_verb_writes_the_page(pack_path, voice_wav, tmp_path: Path, capsys):
    report = tmp_path / "r.html"
    flags = ["--seconds", "2", "--warmup", "0", "--processes", "0", "--scenario", "single-stream"]
    status = main(
        [
            "bench",
            "--pack",
            str(pack_path),
            "--input",
            str(voice_wav),
            *flags,
            "--report",
            str(report),
        ]
    )
    assert status == 0, capsys.readouterr().err
    assert report.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("low", "high", "log", "ticks"),
    [
        (0, 10, False, [0, 2, 4, 6, 8, 10]),
        (0.9, 2.1, False, [1.0, 1.5, 2.0]),
        (0.15, 3, True, [0.2, 0.5, 1, 2]),
        (0.01, 200, True, [0.01, 0.1, 1, 10, 100]),
    ],
)
def test_ticks_are_round(low, high, log, ticks):
    assert nice_ticks(low, high, log) == pytest.approx(ticks)


def test_positions_follow_the_scale():
    assert Axis(1, 100, "x", log=True).share(10) == pytest.approx(0.5)
    assert Axis(0, 4, "x").share(1) == 0.25
    assert Axis(0, 4, "x").share(9) == 1
    with pytest.raises(ValueError, match="low < high"):
        Axis(0, 1, "x", log=True)
    svg = Plot(Axis(0, 1, "a & b"), Axis(0, 1, "y")).svg("n", "t", "d")
    ElementTree.fromstring(svg)
