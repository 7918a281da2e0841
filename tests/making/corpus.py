"""A small corpus named like EmoDB: speech-like audio, so that verdicts differ but mean nothing."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

from making.speech import speech_pcm

__all__ = ["emodb_like"]


def emodb_like(
    folder: Path,
    speakers: Sequence[str] = ("03", "08", "09", "10"),
    letters: str = "WAN",
    rate_hz: int = 16000,
    seconds: float = 1.0,
) -> Path:
    """Write one clip for each speaker and emotion letter."""
    folder.mkdir(parents=True, exist_ok=True)
    for s, speaker in enumerate(speakers):
        for e, letter in enumerate(letters):
            with wave.open(str(folder / f"{speaker}a01{letter}a.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(rate_hz)
                file.writeframes(speech_pcm(seconds, 10 * s + e).tobytes())
    return folder
