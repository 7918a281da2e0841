"""Audio files: read, mix to mono, resample. Shared by the runtime and the converters."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import InputError, MissingExtra

__all__ = [
    "RATES_HZ",
    "StreamResampler",
    "check_file",
    "check_finite",
    "load_mono",
    "mix_to_mono",
    "read_mono",
]

FloatArray = NDArray[np.float32]

RATES_HZ = (4_000, 384_000)
"""Lowest and highest sample rate that is believed of a header."""

_UNKNOWN_SIZE = 0x7FFF_0000  # what writers into pipes put where they cannot know the length
_UNKNOWN_SAMPLES = 2**62  # libsndfile announces 2**63 - 1 where a FLAC does not say its length


def load_mono(path: Path | str, rate_hz: int) -> FloatArray:
    """The audio file ``path`` as mono samples at ``rate_hz``.

    Returns:
        ``(n,) float32`` in about -1..1, at least one sample.

    Raises:
        InputError: the file is missing, empty, truncated, not audio, or has samples that
            are no finite numbers.
        MissingExtra: reading this file or rate needs the ``audio`` extra.
    """
    return np.concatenate(list(read_mono(path, rate_hz)))


def read_mono(path: Path | str, rate_hz: int) -> Iterator[FloatArray]:
    """The audio file ``path`` as mono blocks at ``rate_hz``, about a second each.

    Memory stays the same however long the file is. Mono PCM WAV is read by the standard
    library, other formats by soundfile, other rates go through soxr (``audio`` extra).

    Raises:
        InputError, MissingExtra: as :func:`load_mono`, some only when the fault is reached.
    """
    path = Path(path)
    check_file(path, rate_hz)
    blocks = _soundfile_blocks(path) if _has_soundfile() else _wave_blocks(path)
    resampler: StreamResampler | None = None
    n_read = n_ready = 0
    for samples, file_rate_hz in blocks:
        check_finite(samples, f"{path} from sample {n_read}" if n_read else str(path))
        n_read += len(samples)
        if resampler is None:
            resampler = StreamResampler(file_rate_hz, rate_hz)
        ready = resampler.push(mix_to_mono(samples))
        n_ready += len(ready)
        if len(ready):
            yield ready
    if resampler is None or n_read == 0:
        raise InputError(f"{path}: holds no audio samples")
    rest = resampler.push(np.empty(0, np.float32), last=True)
    if len(rest):
        yield rest
    elif not n_ready:
        raise InputError(
            f"{path}: {n_read} samples are too short, nothing is left of them at {rate_hz} Hz"
        )


def check_file(path: Path, rate_hz: int) -> None:
    """Whether ``path`` can be an audio file at all, before it is opened.

    Raises:
        InputError: it is missing, empty, a folder, or raw samples.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise InputError(f"{path}: no such audio file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{path}: is a folder, not an audio file")
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise InputError(f"{path}: the file is empty")
    if path.suffix.lower() in (".raw", ".pcm"):
        raise InputError(
            f"{path}: raw samples have no header that says what they are; 16-bit mono at "
            f"{rate_hz} Hz goes through standard input: edge-ser run - < {path.name}"
        )


def _has_soundfile() -> bool:
    try:
        import soundfile  # noqa: F401
    except (ImportError, OSError):  # OSError: the package is there, its library is not
        return False
    return True


def _soundfile_blocks(path: Path) -> Iterator[tuple[FloatArray, int]]:
    import soundfile

    class Onward(soundfile.SoundFile):  # type: ignore[misc]  # an untyped package
        """Read from begin to end; seeking after every block fails where no end is known."""

        def seekable(self) -> bool:
            return False

    try:
        # As bytes: a name in another encoding than this system's is no text.
        with Onward(os.fsencode(path) if os.name == "posix" else path) as file:
            announced, n_read = file.frames, 0
            # libsndfile shortens a cut-off WAV to what is there and says so only in its log.
            for size, line in _shortened(file.extra_info):
                if size < _UNKNOWN_SIZE:
                    raise InputError(f"{path}: is truncated ({line}); copy it again")
            _check_rate(path, file.samplerate)
            # Not file.blocks(): where less comes than was announced, it repeats its buffer.
            while len(block := file.read(file.samplerate, dtype="float32", always_2d=True)):
                n_read += len(block)
                yield block, file.samplerate
    except (soundfile.LibsndfileError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "error_string", str(error)).rstrip(".")
        raise InputError(
            f"{path}: cannot be read as audio ({reason}); "
            "is it a complete WAV, FLAC, OGG or MP3 file?"
        ) from error
    if n_read < announced < _UNKNOWN_SAMPLES:
        raise InputError(
            f"{path}: is truncated, it has {n_read} of {announced} samples; copy it again"
        )


def _shortened(log: str) -> Iterator[tuple[int, str]]:
    """Announced sizes that libsndfile corrected, and its words."""
    for line in log.splitlines():
        # Only these count samples; writers get the byte rate or the size of the whole wrong.
        pattern = r"^\s*(?:data|SSND|Data Size)\s*:\s*(\d+) \(should be \d+\)"
        if (found := re.search(pattern, line)) is not None:
            yield int(found.group(1)), line.strip()


def _check_rate(path: Path, rate_hz: int) -> None:
    low, high = RATES_HZ
    if not low <= rate_hz <= high:
        raise InputError(
            f"{path}: its header gives a sample rate of {rate_hz} Hz; {low} to {high} Hz "
            "can be read"
        )


def _wave_blocks(path: Path) -> Iterator[tuple[FloatArray, int]]:
    import wave

    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate_hz = (
                file.getsampwidth(),
                file.getnchannels(),
                file.getframerate(),
            )
            _check_rate(path, rate_hz)
            announced, n_read = file.getnframes(), 0
            while data := file.readframes(rate_hz):
                whole = len(data) // (width * channels)
                n_read += whole
                yield _pcm(data[: whole * width * channels], width).reshape(-1, channels), rate_hz
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (wave.Error, EOFError, RuntimeError, TypeError) as error:
        with path.open("rb") as raw:
            head = raw.read(12)
        if head[:4] in (b"fLaC", b"OggS") or head[:3] == b"ID3" or "unknown format" in str(error):
            raise MissingExtra("soundfile", "audio", f"read {path.name}") from error
        raise InputError(
            f"{path}: cannot be read as a WAV file ({str(error) or 'it ends in its header'}); "
            "is it complete?"
        ) from error
    if n_read < announced and announced * width * channels < _UNKNOWN_SIZE - 2**16:
        raise InputError(
            f"{path}: is truncated, it has {n_read} of {announced} samples; copy it again"
        )


def _pcm(data: bytes, width: int) -> FloatArray:
    """Little-endian PCM of 1 (unsigned), 2, 3 or 4 bytes a sample in -1..1."""
    samples: FloatArray
    if width == 1:
        samples = np.frombuffer(data, np.uint8).astype(np.float32)
        samples -= np.float32(128.0)
    elif width == 3:
        raw = np.zeros((len(data) // 3, 4), np.uint8)
        raw[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        samples = raw.view("<i4")[:, 0].astype(np.float32)
        width = 4
    else:
        samples = np.frombuffer(data, f"<i{width}").astype(np.float32)
    samples /= np.float32(2.0 ** (8 * width - 1))
    return samples


def check_finite(samples: FloatArray, where: str) -> None:
    """Raise ``InputError`` naming the first sample that is NaN or infinite."""
    # A sum is finite only if all its terms are, and costs one pass without a temporary.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.sum(samples)):
            return
    bad = ~np.isfinite(samples)
    if bad.any():
        first = np.argwhere(bad)[0]
        raise InputError(
            f"{where}: sample {first[0]} is {samples[tuple(first)]}, "
            f"not a finite number ({int(bad.sum())} such samples); fix the source of this audio"
        )


def mix_to_mono(samples: FloatArray) -> FloatArray:
    """The mean over the channels: ``(n, channels)`` to ``(n,)``, both ``float32``."""
    if samples.shape[1] == 1:
        return np.ascontiguousarray(samples[:, 0])
    with np.errstate(over="ignore"):  # absurdly large samples are told of where they are used
        mixed: FloatArray = np.mean(samples, axis=1, dtype=np.float32)
    return mixed


class StreamResampler:
    """Resamples mono chunks of a stream; the chunks may have any length.

    Raises:
        MissingExtra: the rates differ and soxr is not installed.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._stream: Any = None
        if from_hz != to_hz:
            self._stream = _soxr(from_hz, to_hz).ResampleStream(
                from_hz, to_hz, 1, dtype="float32", quality="HQ"
            )

    def push(self, samples: FloatArray, last: bool = False) -> FloatArray:
        """What is ready after ``samples`` ``(n,)``; with ``last``, all that is left."""
        if self._stream is None:
            return samples
        ready: FloatArray = self._stream.resample_chunk(samples, last=last)
        return ready


def _soxr(from_hz: int, to_hz: int) -> Any:
    try:
        import soxr
    except ImportError:
        raise MissingExtra("soxr", "audio", f"resample {from_hz} Hz to {to_hz} Hz") from None
    return soxr
