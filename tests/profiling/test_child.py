"""Processes of a benchmark, called from a folder with files that are named like Python's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edge_ser.errors import EdgeSerError
from edge_ser.runtime.bench import fresh, fresh_processes
from edge_ser.runtime.bench.whole import whole_machine
from edge_ser.runtime.child import code_command, last_line, module_command


@pytest.fixture
def odd_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder has modules that end whoever imports them; a site customization talks."""
    for name in ("random", "json", "numpy", "queue", "runpy"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('the user\\'s {name} ran')")
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("print('good morning')")
    (site / "of_the_user.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_fresh_process_runs_nothing_of_the_users(odd_folder, pack_path):
    result = fresh_processes(pack_path, processes=1, seconds=1)
    assert result.cold_start_ms[0] > result.import_ms[0]


def test_the_whole_machine_runs_nothing_of_the_users(odd_folder, pack_path, voice_wav):
    result = whole_machine(
        pack_path, {}, voice_wav, processes=1, deadline_ns=10**12, ticks=2, most=1
    )
    assert result.streams_per_process == 1


def test_a_child_finds_this_edge_ser_and_what_pythonpath_names(odd_folder):
    code = "import edge_ser, of_the_user; print(edge_ser.__file__, *sys.argv[1:])"
    done = subprocess.run(code_command(code, "a b"), capture_output=True, text=True, check=True)
    import edge_ser

    assert last_line(done.stdout) == f"{edge_ser.__file__} a b"


def test_a_module_is_run_as_with_m(odd_folder):
    command = module_command("edge_ser.runtime.trial", "nowhere", "auto")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "nowhere" in done.stderr


def test_an_answer_that_is_none_is_told(monkeypatch, pack_path):
    monkeypatch.setattr(fresh, "code_command", lambda *_: [sys.executable, "-c", "print('bye')"])
    with pytest.raises(EdgeSerError, match="ended with 'bye'"):
        fresh_processes(pack_path, processes=1)
    assert last_line("") == ""
    assert json.loads(last_line("x\n[1]\n")) == [1]
