"""A sound for the command line."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest
from making.speech import speech_pcm


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """0.8 s like speech, ten steps."""
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(speech_pcm(0.8).tobytes())
    return path
