"""Copies of a training clip as other rooms, microphones and voices would give it."""

from __future__ import annotations

import hashlib
import random
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import MissingExtra

__all__ = ["Augmenter", "first_draw"]

N_ROOMS = 48


class Augmenter:
    """Other voices, then other microphones and rooms, drawn anew for each copy.

    Used on training audio only. The same ``seed`` and ``draw`` give the same copy.

    Args:
        rate_hz: sample rate of the clips.
        seed: seed of everything that is drawn.

    Raises:
        MissingExtra: audiomentations is not installed.
    """

    def __init__(self, rate_hz: int, seed: int) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # optional codecs that are not needed here
                import audiomentations as am
                import soundfile
        except ImportError:
            raise MissingExtra("audiomentations", "train", "augment training audio") from None
        self.rate_hz, self.seed = rate_hz, seed
        self._rooms = tempfile.TemporaryDirectory(prefix="edge-ser-rooms-")
        rng = np.random.default_rng(seed)
        for index in range(N_ROOMS):
            path = Path(self._rooms.name) / f"room{index:02d}.wav"
            soundfile.write(path, room_response(rate_hz, rng), rate_hz, subtype="FLOAT")
        self._voice = am.Compose(
            [
                am.Resample(
                    min_sample_rate=round(0.85 * rate_hz),
                    max_sample_rate=round(1.175 * rate_hz),
                    p=1.0,
                ),
                am.PitchShift(min_semitones=-3.0, max_semitones=3.0, p=0.4),
                am.SevenBandParametricEQ(min_gain_db=-6.0, max_gain_db=6.0, p=0.4),
                am.Clip(a_min=-1.0, a_max=1.0, p=1.0),
            ]
        )
        self._room = am.Compose(
            [
                am.SevenBandParametricEQ(min_gain_db=-6.0, max_gain_db=6.0, p=0.3),
                am.ApplyImpulseResponse(self._rooms.name, leave_length_unchanged=True, p=0.5),
                am.AddColorNoise(min_snr_db=5.0, max_snr_db=35.0, p=0.7),
                am.Gain(min_gain_db=-10.0, max_gain_db=6.0, p=0.9),
                am.Clip(a_min=-1.0, a_max=1.0, p=1.0),
            ]
        )

    def __call__(self, samples: NDArray[np.float32], draw: int) -> NDArray[np.float32]:
        """Another voice in another room; the length may change."""
        return self.room(self.voice(samples, draw), draw)

    def voice(self, samples: NDArray[np.float32], draw: int) -> NDArray[np.float32]:
        """``samples`` ``(n,) float32`` at another speed, pitch and timbre, still clean.

        A speech encoder that listens to the result says what a student should hear in it.
        """
        return self._apply(self._voice, samples, draw)

    def room(self, samples: NDArray[np.float32], draw: int) -> NDArray[np.float32]:
        """The same ``(n,) float32`` samples through another microphone, room, noise and gain."""
        return self._apply(self._room, samples, draw)

    def _apply(self, chain: Any, samples: NDArray[np.float32], draw: int) -> NDArray[np.float32]:
        # audiomentations draws from the two global generators; leave them as they were.
        python_state, numpy_state = random.getstate(), np.random.get_state()
        try:
            seed = (self.seed * 1_000_003 + draw) % 2**32
            random.seed(seed)
            np.random.seed(seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                changed = chain(samples, self.rate_hz)
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
        return np.asarray(changed, np.float32)


def first_draw(content: bytes, seed: int) -> int:
    """Draw of the first copy of the audio file with this ``content``; the next count on."""
    return int(hashlib.sha256(content + repr(seed).encode()).hexdigest()[:7], 16)


def room_response(rate_hz: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Impulse response of a room: a direct path and an exponentially decaying noise tail.

    Reverberation time 0.1 to 0.8 s, direct-to-reverberant ratio 0 to 15 dB (Polack's
    statistical model of late reverberation).
    """
    decay_s = rng.uniform(0.1, 0.8)
    n = round(decay_s * rate_hz)
    tail = rng.standard_normal(n) * np.exp(-6.9 * np.arange(n) / n)
    tail[: round(0.002 * rate_hz)] = 0.0
    ratio = 10 ** (rng.uniform(0.0, 15.0) / 10)
    tail *= np.sqrt(1.0 / (ratio * np.sum(tail**2)))
    tail[0] = 1.0
    return tail.astype(np.float32)
