"""Audio that behaves like speech: syllables, pitch, formants, breath and pauses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["speech", "speech_pcm"]


def speech(seconds: float, seed: int = 0, rate_hz: int = 16000) -> NDArray[np.float32]:
    """``(n,) float32`` with a peak of 0.5: harmonics of a gliding pitch under two formants."""
    rng = np.random.default_rng(seed)
    n = round(seconds * rate_hz)
    t = np.arange(n) / rate_hz
    glides = np.sin(2 * np.pi * rng.uniform(0.3, 0.9) * t + rng.uniform(0, 6))
    pitch = rng.uniform(110, 220) * (1 + 0.2 * glides)
    phase = 2 * np.pi * np.cumsum(pitch) / rate_hz
    first = 500 + 250 * np.sin(2 * np.pi * 2.1 * t + rng.uniform(0, 6))
    second = 1500 + 500 * np.sin(2 * np.pi * 1.4 * t + rng.uniform(0, 6))
    voice = np.zeros(n)
    for harmonic in range(1, 25):
        hertz = harmonic * pitch
        shape = np.exp(-(((hertz - first) / 180) ** 2)) + 0.5 * np.exp(
            -(((hertz - second) / 260) ** 2)
        )
        voice += (shape + 0.05 / harmonic) * np.sin(harmonic * phase)
    syllables = np.clip(np.sin(2 * np.pi * rng.uniform(2.5, 4.5) * t), 0, None)
    pauses = np.sin(2 * np.pi * 0.4 * t + rng.uniform(0, 6)) > -0.7
    breath = 0.05 * rng.standard_normal(n)
    sound = (voice + breath) * syllables * pauses + 0.001 * rng.standard_normal(n)
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


def speech_pcm(seconds: float, seed: int = 0) -> NDArray[np.int16]:
    """The same as 16-bit samples at 16 kHz."""
    return np.round(speech(seconds, seed) * 32767).astype(np.int16)
