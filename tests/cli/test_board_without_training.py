"""A board's install leaves the training away; its commands say what they need, not a fault."""

from __future__ import annotations

import sys

import pytest

from edge_ser.cli import main


@pytest.mark.parametrize("command", [("distill",), ("train", "student")])
def test_training_commands_name_the_extra(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [m for m in sys.modules if m.startswith("edge_ser.cli.")]:
        monkeypatch.delitem(sys.modules, name)  # they are imported anew, as in a fresh process
    for package in ("torch", "edge_ser.training", "edge_ser.models"):
        monkeypatch.setitem(sys.modules, package, None)
    assert main([*command, "--data", "emodb=nowhere", "--out", "nowhere"]) == 2
    told = capsys.readouterr().err
    assert "[train]" in told
    assert "fault of edge-ser" not in told
