"""Hand-crafted features of clips: spectral, cepstral with voice quality, eGeMAPS."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import MissingExtra
from edge_ser.frontend import LogMel, LogMelSpec

__all__ = ["ACOUSTICS", "Cepstral", "Functionals", "LogMelRows", "LogSpectrogram", "Mfcc"]

RATE_HZ = 16_000
_HOP, _WINDOW, _N_FFT = 160, 400, 512
_SHORTEST = 2 * _N_FFT  # samples that the libraries want at least
_VOICE = ("spectralFlux_sma3", "F0semitoneFrom27.5Hz_sma3nz", "HNRdBACF_sma3nz")


class LogMelRows:
    """Log-mel rows of the streaming front end, ``(n_mels, frames) float16``."""

    rate_hz = RATE_HZ

    def __init__(self, spec: LogMelSpec | None = None) -> None:
        self.spec = spec or LogMelSpec()
        self.rows = self.spec.n_mels
        self._front_end = LogMel(self.spec)

    @property
    def identity(self) -> str:
        """The whole specification."""
        return f"logmel:{json.dumps(self.spec.to_dict(), sort_keys=True)}"

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[Any]:
        """Rows of ``(n,) float32`` samples."""
        return self._front_end.clip(samples).astype(np.float16)


class LogSpectrogram:
    """Natural logarithm of the power spectrum, ``(201, frames) float16``, 40 Hz a row."""

    rate_hz, rows = RATE_HZ, _WINDOW // 2 + 1
    identity = "log-spectrogram:1"

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[Any]:
        """Rows of ``(n,) float32`` samples."""
        padded = np.pad(samples, _WINDOW // 2)
        frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
        power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW))) ** 2
        return np.asarray(np.log(power + 1e-6).T, np.float16)


class Mfcc:
    """40 mel cepstra with librosa, ``(40, frames) float16``."""

    rate_hz, rows = RATE_HZ, 40
    identity = "mfcc40:1"

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[Any]:
        """Rows of ``(n,) float32`` samples."""
        librosa = _librosa()
        return np.asarray(
            librosa.feature.mfcc(
                y=_long_enough(samples), sr=RATE_HZ, n_mfcc=40, n_fft=_N_FFT, hop_length=_HOP
            ),
            np.float16,
        )


class Cepstral:
    """The cepstral and voice-quality branch, ``(60, frames) float16``.

    40 mel cepstra, 12 chroma, root mean square, zero crossings, centroid and roll-off with
    librosa; spectral flux, pitch, harmonics-to-noise ratio and voicing with openSMILE's
    eGeMAPS descriptors.
    """

    rate_hz, rows = RATE_HZ, 60
    identity = "cepstral60:1"

    def __init__(self) -> None:
        self._smile = _smile("LowLevelDescriptors")

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[Any]:
        """Rows of ``(n,) float32`` samples."""
        librosa = _librosa()
        y = _long_enough(samples)
        magnitude = np.abs(librosa.stft(y, n_fft=_N_FFT, hop_length=_HOP, win_length=_WINDOW))
        mel = librosa.feature.melspectrogram(S=magnitude**2, sr=RATE_HZ, n_mels=64)
        rows = [
            librosa.feature.mfcc(S=librosa.power_to_db(mel), sr=RATE_HZ, n_mfcc=40),
            librosa.feature.chroma_stft(S=magnitude**2, sr=RATE_HZ, tuning=0.0),
            librosa.feature.rms(S=magnitude, frame_length=_N_FFT),
            librosa.feature.zero_crossing_rate(y, frame_length=_N_FFT, hop_length=_HOP),
            librosa.feature.spectral_centroid(S=magnitude, sr=RATE_HZ) / 1000.0,
            librosa.feature.spectral_rolloff(S=magnitude, sr=RATE_HZ) / 1000.0,
        ]
        n = min(row.shape[1] for row in rows)
        described = self._smile.process_signal(y, RATE_HZ)
        voice = described[list(_VOICE)].to_numpy(np.float32).T
        voice = np.concatenate([voice, voice[1:2] > 0])  # no pitch is written as 0
        voice = np.pad(voice, ((0, 0), (0, max(0, n - voice.shape[1]))))[:, :n]
        return np.concatenate([*(row[:, :n] for row in rows), voice]).astype(np.float16)


class Functionals:
    """The 88 eGeMAPS functionals of a whole clip (Eyben et al., 2016), ``(88,) float32``."""

    rate_hz, rows = RATE_HZ, 88
    identity = "egemaps-v02-functionals:1"

    def __init__(self) -> None:
        self._smile = _smile("Functionals")

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[Any]:
        """Values of ``(n,) float32`` samples; what openSMILE cannot tell is 0."""
        values = self._smile.process_signal(_long_enough(samples), RATE_HZ).to_numpy(np.float32)[0]
        told: NDArray[np.float32] = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        return told


ACOUSTICS = {"mfcc": Mfcc, "spectrogram": LogSpectrogram, "logmel": LogMelRows}
"""Inputs of an acoustic branch by name, each with 100 frames a second."""


def _long_enough(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.pad(samples, (0, max(0, _SHORTEST - len(samples))))


def _librosa() -> Any:
    try:
        import librosa
    except ImportError:
        raise MissingExtra("librosa", "semantic", "compute cepstra and chroma") from None
    return librosa


def _smile(level: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import opensmile
    except ImportError:
        raise MissingExtra("opensmile", "semantic", "compute eGeMAPS features") from None
    return opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02,
        feature_level=getattr(opensmile.FeatureLevel, level),
    )
