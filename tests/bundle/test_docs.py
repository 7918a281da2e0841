"""Every command of docs/board is one that there is."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from edge_ser.cli.main import build_parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "board").glob("*.md"))


def commands(page: Path) -> list[str]:
    text = page.read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
    prose = re.sub(r"```.*?```", "", text, flags=re.S)
    lines = [line.split("  #")[0] for block in blocks for line in block.splitlines()]
    lines += [code.replace("\n", " ") for code in re.findall(r"`([^`]+)`", prose)]
    parts = [part.strip() for line in lines for part in re.split(r"&&|;", line)]
    found = [re.sub(r"^sudo ", "", part) for part in parts]
    return [line for line in found if re.match(r"edge-ser [a-z]", line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_is_understood(page: Path) -> None:
    for line in commands(page):
        words = shlex.split(line)[1:]
        if len(words) > 1:  # a verb alone is a name in a sentence
            build_parser(words).parse_args(words)


def test_the_pages_have_commands() -> None:
    assert sum(len(commands(page)) for page in PAGES) >= 18


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (page.parent / target).exists(), target
    for path in re.findall(r"\bdocker/[\w./-]+\w", text):
        assert (ROOT / path).exists(), path


def test_the_modules_that_the_pages_run_are_there() -> None:
    modules = {
        name for page in PAGES for name in re.findall(r"python -m ([\w.]+)", page.read_text())
    }
    assert "benchmarks.kills" in modules
    for name in modules:
        done = subprocess.run(
            [sys.executable, "-m", name, "--help"], capture_output=True, text=True, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
