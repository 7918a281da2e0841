"""Plain speech: a folder of anybody's recordings, without labels."""

from __future__ import annotations

from pathlib import Path

from edge_ser.corpora.clips import Clip, audio_files

__all__ = ["SPEECH", "load_speech"]

SPEECH = "speech"
"""Stands for a corpus's name where the sound alone counts."""


def load_speech(root: Path | str) -> list[Clip]:
    """Every .wav and .flac file below ``root`` as a clip without a label, sorted by path.

    A folder directly in ``root`` is a speaker; files beside such folders are one more.

    Raises:
        InputError: the folder is missing or has no audio.
    """
    root = Path(root)
    return [
        Clip(path, SPEECH, f"{SPEECH}:{_speaker(path.relative_to(root))}", "", "")
        for path in audio_files(root, "Speech without labels")
    ]


def _speaker(path: Path) -> str:
    return path.parts[0] if len(path.parts) > 1 else "-"
