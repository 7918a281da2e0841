"""The command line as such: help, unknown words, exit statuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from edge_ser import __version__
from edge_ser.cli.main import VERBS, main
from edge_ser.errors import GateMissed, InputError

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# Nothing but the standard library and numpy, as on a machine with nothing installed.
FENCED = """
import sys
ALLOWED = {"numpy", "edge_ser"} | set(sys.stdlib_module_names)
class Fence:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ALLOWED:
            raise ImportError(name + " is not installed")
sys.meta_path.insert(0, Fence())
from edge_ser.cli import main
raise SystemExit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("verb", [None, *VERBS])
def test_help_needs_nothing_extra(verb: str | None) -> None:
    words = ["-h"] if verb is None else [verb, "-h"]
    done = subprocess.run(
        [sys.executable, "-c", FENCED, *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: edge-ser")
    if verb is None:
        assert all(known in done.stdout for known in VERBS)


@pytest.mark.parametrize("action", ["list", "info", "verify"])
def test_help_of_the_verbs_of_a_verb(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", action, "-h"]) == 0
    assert "--json" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"edge-ser {__version__}\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "VERB"),
        (["dance"], "invalid choice: 'dance'"),
        (["run"], "INPUT"),
        (["run", "x.wav", "--loud"], "unrecognized arguments: --loud"),
        (["run", "x.wav", "--json"], "unrecognized arguments: --json"),
        (["run", "x.wav", "--pac", "p"], "unrecognized arguments: --pac"),
        (["run", "x.wav", "--backend", "gpu"], "invalid choice: 'gpu'"),
        (["run", "x.wav", "--threads", "many"], "'many' is no whole number"),
        (["run", "x.wav", "--threads", "9" * 20], "is not between 1 and"),
        (["bench", "--seconds", "inf"], "inf is not a finite number above 0"),
        (["bench", "--seed", "-1"], "-1 is not between 0 and"),
        (["pack"], "ACTION"),
        (["pack", "burn"], "invalid choice: 'burn'"),
        (["pack", "list", "--loud"], "unrecognized arguments: --loud"),
    ],
)
def test_wrong_usage(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.count("\n") == 1  # and not every flag there is
    assert said.out == ""


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (InputError("the file is bad"), 2, "edge-ser: the file is bad\n"),
        (GateMissed("too inexact"), 3, "edge-ser: too inexact\n"),
        (ZeroDivisionError("oops"), 1, "edge-ser: ZeroDivisionError: oops (this is a fault of"),
        (PermissionError(13, "Permission denied", "/x"), 2, "edge-ser: /x: Permission denied\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_become_one_line_and_a_status(
    error: BaseException,
    status: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(options: object) -> int:
        raise error

    monkeypatch.setattr("edge_ser.cli.pack.execute", fail)
    assert main(["pack", "list"]) == status
    said = capsys.readouterr().err
    assert said.startswith(says)
    assert said.count("\n") <= 1
    with pytest.raises(type(error)):
        main(["pack", "list", "--debug"])


def test_the_module_runs_as_a_command(edge_ser_command: Run) -> None:
    done: Any = edge_ser_command("--version")
    assert (done.returncode, done.stdout) == (0, f"edge-ser {__version__}\n")
