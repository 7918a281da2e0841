"""docs/latency: its examples run, its commands are understood, what it names is there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from edge_ser.cli.main import build_parser

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "latency" / "README.md"
TEXT = PAGE.read_text(encoding="utf-8")
OWN, READY_MADE = re.findall(r"```python\n(.*?)```", TEXT, re.S)


def run(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_hook_of_ones_own(tmp_path: Path) -> None:
    pytest.importorskip("soundfile", reason="needs the audio extra")
    found = re.fullmatch(r"step (\d+): [\d.]+ ms, most of it (\w+)\n", run(OWN, tmp_path))
    assert found is not None
    assert found[2] in ("frontend", "infer", "post")


def test_the_ready_made_hooks(tmp_path: Path) -> None:
    for module in ("soundfile", "hdrh", "prometheus_client"):
        pytest.importorskip(module, reason="needs the audio and profile extras")
    assert "'count'" in run(READY_MADE, tmp_path)
    steps = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == list(range(len(steps)))
    assert re.findall(r"`(\w+)`", re.search(r"a line a step: ([^|]*)", TEXT)[1]) == list(steps[0])


def test_every_command_is_understood() -> None:
    found = re.findall(r"`(edge-ser (?:run|bench) [^`\n]+)`", TEXT)
    assert len(found) >= 8
    for line in found:
        words = shlex.split(line)[1:]
        build_parser(words).parse_args(words)


def test_every_flag_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    known = ""
    for verb in (["run"], ["bench"], ["bench", "compare"]):
        with pytest.raises(SystemExit):
            build_parser([*verb, "-h"]).parse_args([*verb, "-h"])
        known += capsys.readouterr().out
    for module in sorted(set(re.findall(r"python -m ([\w.]+)", TEXT))):
        done = subprocess.run(
            [sys.executable, "-m", module, "--help"], capture_output=True, text=True, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
        known += done.stdout
    asked = set(re.findall(r"--[a-z][a-z-]*[a-z]", TEXT)) - {"--no-deps"}
    assert asked >= {"--trace", "--trace-nodes", "--steps", "--metrics-port", "--nvtx", "--report"}
    assert [flag for flag in sorted(asked) if not re.search(rf"{flag}\b", known)] == []


def test_every_metric_is_one() -> None:
    pytest.importorskip("prometheus_client", reason="needs the profile extra")
    sources = (ROOT / "runtime" / "hooks" / "prometheus.py", ROOT / "runtime/serve/metrics.py")
    code = "".join(path.read_text() for path in sources)
    named = set(re.findall(r"`(ser_[a-z_]+)", TEXT))
    assert len(named) > 12
    for name in named:
        assert re.search(rf'"{re.sub("_(total|info)$", "", name)}(_total)?"', code), name
