"""Flags of the benchmarks that make no sense are refused before any work."""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks/ is not installed

from benchmarks import soak
from benchmarks.peers import __main__ as peers
from benchmarks.peers import systems as peer_systems
from benchmarks.peers.peer import Peer
from edge_ser.errors import EdgeSerError


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


@pytest.mark.parametrize(
    "flags",
    [
        ["--seed", "-1"],
        ["--seconds", "999999999999"],
        ["--seconds", "5"],
        ["--memory-of", "bogus"],
        ["--only", "bogus"],
    ],
)
def test_peers_refuse_nonsense(capsys, flags):
    with pytest.raises(SystemExit) as ended:
        peers.main(flags)
    assert ended.value.code == 2
    assert f"argument {flags[0]}" in capsys.readouterr().err


@pytest.fixture
def silent_peers(monkeypatch, pack_path):
    """Peers that cost nothing; tells how often each was loaded."""
    loaded: list[str] = []

    def maker(name: str):
        def load():
            loaded.append(name)
            return lambda chunk: sum(chunk.tolist())

        return lambda: Peer(name, name, "numbers", "none", "1", 1600, load)

    makers = {"one": maker("one"), "two": maker("two")}
    monkeypatch.setattr(peers, "systems", lambda: makers)
    monkeypatch.setattr(peers, "edge_ser", lambda *_: maker("edge-ser")())
    monkeypatch.setattr(peers, "fingerprint", lambda: {"cpu": "A CPU"})
    return loaded


def test_a_peer_named_twice_is_measured_once(silent_peers, voice_wav, capsys):
    flags = ["--input", str(voice_wav), "--seconds", "6", "--no-memory"]
    assert peers.main([*flags, "--only", "one", "--only", "one"]) == 0
    assert silent_peers == ["edge-ser", "one"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--json", "{voice}"], "is the input, too"),
        (["--json", "{tmp}/x.svg", "--figure", "{tmp}/./sub/../x.svg"], "the same file"),
        (["--figure", "{tmp}/f.bogus"], ".pdf, .png, .svg"),
        (["--figure", "{voice}/f.png"], "cannot write"),
        (["--json", "{tmp}"], "cannot write"),
    ],
)
def test_peers_look_at_their_files_before_they_measure(
    silent_peers, voice_wav, tmp_path, capsys, flags, words
):
    before = voice_wav.read_bytes()
    (tmp_path / "sub").mkdir()
    flags = [flag.format(voice=voice_wav, tmp=tmp_path) for flag in flags]
    assert peers.main(["--input", str(voice_wav), *flags]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err
    assert silent_peers == []
    assert voice_wav.read_bytes() == before


def test_times_of_peers_are_shown_where_their_memory_is_not_known(
    silent_peers, monkeypatch, voice_wav, tmp_path, capsys
):
    def fail(name: str, words: list[str]) -> float:
        raise EdgeSerError(f"{name} was killed")

    monkeypatch.setattr(peers, "_memory", fail)
    page = tmp_path / "x.json"
    flags = ["--input", str(voice_wav), "--seconds", "6", "--only", "one", "--json", str(page)]
    assert peers.main(flags) == 1
    out, err = capsys.readouterr()
    assert "CPU ms per s" in out
    assert "edge-ser was killed" in err
    assert page.exists()


def test_a_pack_of_another_rate_is_refused(monkeypatch, pack_path, capsys):
    monkeypatch.setattr(peer_systems, "RATE_HZ", 8000)
    assert peers.main(["--pack", str(pack_path), "--seconds", "6", "--only", "silero-vad"]) == 2
    assert "16000 Hz and the peers 8000 Hz" in capsys.readouterr().err
