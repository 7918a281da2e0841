"""The small pack and speech-like audio that these tests run on."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from making.speech import speech_pcm
from numpy.typing import NDArray


@pytest.fixture(scope="session")
def pack_path(shared_pack: Path) -> Path:
    return shared_pack


@pytest.fixture(scope="session")
def voice() -> NDArray[np.int16]:
    return speech_pcm(4.0)


@pytest.fixture(scope="session")
def voice_wav(tmp_path_factory: pytest.TempPathFactory, voice: NDArray[np.int16]) -> Path:
    path = tmp_path_factory.mktemp("audio") / "voice.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(voice.tobytes())
    return path
