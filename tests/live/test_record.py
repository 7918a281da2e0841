from __future__ import annotations

import errno
import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from voices import LoudnessGate, silence, voice

from edge_ser.cli import main
from edge_ser.errors import GateMissed, InputError, OutputError
from edge_ser.events import Event
from edge_ser.runtime import Recognizer
from edge_ser.runtime.live import LiveStream
from edge_ser.runtime.record import Recording, replay


def test_a_place_where_no_file_can_stand_is_told_before_anything_is_written(
    recognizer: Recognizer, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("", "pipe"):
        with pytest.raises(InputError, match="cannot write"):
            Recording(tmp_path / name, LiveStream(recognizer, gate=LoudnessGate()))
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_link_stays_and_leads_to_the_recording(recognizer: Recognizer, tmp_path: Path) -> None:
    (tmp_path / "link.ser").symlink_to(tmp_path / "there.ser")
    live = LiveStream(recognizer, gate=LoudnessGate())
    with Recording(tmp_path / "link.ser", live):
        live.push(voice(0.5))
        live.finish()
    assert (tmp_path / "link.ser").is_symlink()
    assert list(replay(tmp_path / "there.ser", recognizer)) is not None


@pytest.fixture
def recorded(recognizer: Recognizer, tmp_path: Path) -> tuple[Path, list[Event]]:
    talk = np.concatenate([silence(0.5), voice(1.0), silence(1), voice(0.7, 5), silence(1)])
    live = LiveStream(recognizer, gate=LoudnessGate())
    path = tmp_path / "session.ser"
    with Recording(path, live):
        events = live.push(talk) + live.finish()
    return path, events


def test_a_recording_replays_bit_for_bit(
    recorded: tuple[Path, list[Event]], recognizer: Recognizer
) -> None:
    path, events = recorded
    assert list(replay(path, recognizer)) == [e.to_dict() for e in events]
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    assert sum("mel" in line for line in lines) >= 20
    assert {key for line in lines for key in line} <= {
        "format", "pack", "model_sha256", "backend", "precision",
        "utterance", "begin", "mel", "p", "event",
    }  # fmt: skip


def test_one_changed_bit_is_found(
    recorded: tuple[Path, list[Event]], recognizer: Recognizer
) -> None:
    path, _ = recorded
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    at = [number for number, line in enumerate(lines) if '"mel"' in line][7]
    step = json.loads(lines[at])
    step["p"][0] = float(np.nextafter(step["p"][0], 1))
    lines[at] = json.dumps(step)
    with gzip.open(path, "wt") as file:
        file.write("\n".join(lines))
    with pytest.raises(GateMissed, match="step 8 gave"):
        list(replay(path, recognizer))


def test_what_is_no_recording(
    recorded: tuple[Path, list[Event]], recognizer: Recognizer, tmp_path: Path
) -> None:
    path, _ = recorded
    cut = tmp_path / "cut"
    cut.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="cannot be read as a recording after line"):
        list(replay(cut, recognizer))
    plain = tmp_path / "plain"
    plain.write_text("hello")
    with pytest.raises(InputError, match="cannot be read as a recording"):
        list(replay(plain, recognizer))
    with pytest.raises(InputError, match="no such file"):
        list(replay(tmp_path / "none", recognizer))


def test_a_full_disk_ends_the_recording_but_not_the_stream(
    recognizer: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, path = os.write, tmp_path / "session.ser"

    def full(handle: int, data: bytes) -> int:
        if os.fstat(handle).st_size + len(data) > 80_000 and data[:2] == b"\x1f\x8b":
            write(handle, data[:1000])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, data)

    monkeypatch.setattr(os, "write", full)
    live = LiveStream(recognizer, gate=LoudnessGate())
    events: list[Event] = []
    with pytest.raises(OutputError, match=r"session\.ser is incomplete: No space"), \
            Recording(path, live):  # fmt: skip
        for part in np.array_split(np.concatenate([voice(6.0), silence(1)]), 50):
            events += live.push(part)
        events += live.finish()
    assert events[-1].type == "stream.ended"
    kept = list(replay(path, recognizer))
    assert len(kept) > 20
    assert kept == [event.to_dict() for event in events][: len(kept)]
    assert [item.name for item in tmp_path.iterdir()] == ["session.ser"]


def test_the_verb(
    recorded: tuple[Path, list[Event]], pack_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(recorded[0]), "--pack", str(pack_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["same"] is True
