"""A corpus named like EmoDB whose emotions differ in pitch, so that they can be learnt."""

from __future__ import annotations

from pathlib import Path

import numpy as np

__all__ = ["emotions_by_pitch"]

RATE_HZ = 16_000
PITCH_HZ = {"W": 320.0, "N": 180.0, "T": 100.0}


def emotions_by_pitch(folder: Path, takes: str) -> Path:
    """Four speakers, three emotions, a clip for each letter of ``takes``; needs soundfile."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index, speaker in enumerate(("03", "08", "09", "10")):
        for code, pitch_hz in PITCH_HZ.items():
            for take in takes:
                n = round(RATE_HZ * rng.uniform(0.6, 0.9))
                own_hz = pitch_hz * (1 + 0.05 * index) * rng.uniform(0.97, 1.03)
                phase = 2 * np.pi * np.cumsum(np.full(n, own_hz / RATE_HZ))
                voice = sum(np.sin(k * phase) / k for k in range(1, 12))
                wave = 0.2 * voice * np.hanning(n) + 0.002 * rng.standard_normal(n)
                soundfile.write(folder / f"{speaker}a01{code}{take}.wav", wave, RATE_HZ)
    return folder
