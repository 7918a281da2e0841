"""Flags of the benchmarks that make no sense are refused before any work."""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks/ is not installed

from benchmarks import soak


@pytest.mark.parametrize(
    "flags",
    [["--hours", "inf"], ["--hours", "nan"], ["--hours", "0"], ["--seed", "-1"], ["--seed", "x"]],
)
def test_a_soak_refuses_nonsense(capsys, flags):
    with pytest.raises(SystemExit) as ended:
        soak.main(flags)
    assert ended.value.code == 2
    assert f"argument {flags[0]}" in capsys.readouterr().err


def test_a_soak_on_no_audio_says_so(capsys, pack_path, tmp_path):
    path = tmp_path / "nothing.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
    assert soak.main(["--pack", str(pack_path), "--input", str(path)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "nothing.wav" in err
