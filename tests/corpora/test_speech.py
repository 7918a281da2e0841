"""Plain speech: any folder of recordings, a folder for each speaker."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_ser.cli.train_data import all_clips
from edge_ser.corpora import load_speech
from edge_ser.errors import InputError


def test_folders_are_speakers_and_nothing_has_a_label(tmp_path: Path) -> None:
    for name in ("anna/a.wav", "anna/later/b.FLAC", "bert/a.wav", "loose.wav", "anna/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    clips = load_speech(tmp_path)
    assert [clip.speaker for clip in clips] == [
        "speech:anna", "speech:anna", "speech:bert", "speech:-",
    ]  # fmt: skip
    assert {clip.label for clip in clips} == {""}
    assert all_clips([f"speech={tmp_path}"]) == clips


def test_a_folder_without_audio_is_named(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=root.name):
            load_speech(root)
