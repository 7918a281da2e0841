"""``edge-ser pack``: list, info, verify."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_ser.cli.main import main
from edge_ser.pack import Manifest, bundled_packs


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", "list", "--json"]) == 0
    packs = json.loads(capsys.readouterr().out)["packs"]
    assert len(packs) == len(bundled_packs())
    for pack in packs:
        assert set(pack) == {"id", "version", "path", "labels", "precision", "bundled", "active"}
        assert pack["bundled"] is True
    assert main(["pack", "list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(packs)


def test_bundled_packs_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert bundled_packs()
    for folder in bundled_packs():
        assert main(["pack", "verify", str(folder)]) == 0
        assert main(["pack", "info", folder.name]) == 0
        assert sum(item.stat().st_size for item in folder.rglob("*") if item.is_file()) <= 2e6


def test_info(shared_pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", "info", str(shared_pack), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert Manifest.from_dict(said, "stdout").name == "tiny@1.0"
    assert main(["pack", "info", str(shared_pack)]) == 0
    text = capsys.readouterr().out
    assert "tiny@1.0" in text
    assert "16000 Hz mono, steps of 80 ms" in text


def test_verify(pack_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", "verify", str(pack_folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "pack": "tiny@1.0",
        "whole": True,
        "files": 2,
        "signature": "not signed",
    }
    content = bytearray((pack_folder / "float.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (pack_folder / "float.onnx").write_bytes(content)
    assert main(["pack", "verify", str(pack_folder)]) == 2
    said = capsys.readouterr()
    assert "float.onnx was changed" in said.err
    assert said.out == ""


@pytest.mark.parametrize("action", ["info", "verify"])
def test_no_such_pack(action: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", action, str(tmp_path / "none")]) == 2
    assert "no pack at" in capsys.readouterr().err
    assert main(["pack", action, str(tmp_path)]) == 2
    assert "is no pack: it has no pack.json" in capsys.readouterr().err
