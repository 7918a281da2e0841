"""Audio files of all kinds, whole and broken, with and without the audio extra."""

from __future__ import annotations

import struct
import sys
import wave
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from making.speech import speech
from numpy.typing import NDArray

from edge_ser.audio import StreamResampler, check_finite, load_mono, mix_to_mono, read_mono
from edge_ser.errors import InputError, MissingExtra

RATE = 16000
needs_extra = pytest.mark.skipif(
    find_spec("soundfile") is None or find_spec("soxr") is None,
    reason="needs the audio extra (soundfile, soxr)",
)


def write_wave(
    path: Path, samples: NDArray[np.float32], width: int = 2, rate_hz: int = RATE
) -> Path:
    """PCM WAV by the standard library; ``samples`` ``(n,)`` or ``(n, channels)``."""
    scaled = np.round(samples.astype(np.float64) * (2 ** (8 * width - 1) - 1)).astype(np.int64)
    if width == 1:
        data = (scaled + 128).astype(np.uint8).tobytes()
    else:
        data = b"".join(int(v).to_bytes(width, "little", signed=True) for v in scaled.ravel())
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        file.writeframes(data)
    return path


def write_float(path: Path, samples: NDArray[np.float32]) -> Path:
    """32-bit float WAV, any values."""
    data = samples.astype("<f4").tobytes()
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, RATE, 4 * RATE, 4, 32)
    body = b"WAVE" + head + struct.pack("<4sI", b"data", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


@pytest.fixture(params=["with extra", "standard library"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test that takes this runs with soundfile and without."""
    if request.param == "standard library":
        monkeypatch.setitem(sys.modules, "soundfile", None)
        monkeypatch.setitem(sys.modules, "soxr", None)
    elif find_spec("soundfile") is None:
        pytest.skip("needs the audio extra (soundfile)")
    return str(request.param)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_pcm_wav_of_every_width(reader: str, tmp_path: Path, width: int) -> None:
    samples = speech(0.5)
    loaded = load_mono(write_wave(tmp_path / "a.wav", samples, width), RATE)
    assert loaded.dtype == np.float32
    np.testing.assert_allclose(loaded, samples, atol=2.0 ** (1 - 8 * width) + 1e-6)


def test_stereo_is_mixed_to_the_mean(reader: str, tmp_path: Path) -> None:
    both = np.stack([speech(0.5, 1), speech(0.5, 2)], axis=1)
    loaded = load_mono(write_wave(tmp_path / "a.wav", both), RATE)
    np.testing.assert_allclose(loaded, both.mean(axis=1), atol=1e-4)


def test_long_files_come_in_blocks(reader: str, tmp_path: Path) -> None:
    samples = speech(3.3)
    blocks = list(read_mono(write_wave(tmp_path / "a.wav", samples), RATE))
    assert [len(block) for block in blocks] == [16000, 16000, 16000, 4800]


@needs_extra
@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 48000])
@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_other_rates_are_resampled(tmp_path: Path, rate_hz: int, kind: str) -> None:
    import soundfile

    def tone(rate: int) -> NDArray[np.float32]:
        return (0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)).astype(np.float32)

    path = tmp_path / f"a.{kind}"
    soundfile.write(path, tone(rate_hz), rate_hz, subtype="PCM_16")
    loaded = load_mono(path, RATE)
    assert abs(len(loaded) - RATE) <= 1
    inner = slice(800, 15000)
    np.testing.assert_allclose(loaded[inner], tone(RATE)[inner], atol=2e-3)


@needs_extra
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_U8", "FLOAT", "DOUBLE", "ULAW"])
def test_encodings_of_wav(tmp_path: Path, subtype: str) -> None:
    import soundfile

    samples = speech(0.5)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype=subtype)
    atol = 0.02 if subtype in ("PCM_U8", "ULAW") else 1e-4
    np.testing.assert_allclose(load_mono(tmp_path / "a.wav", RATE), samples, atol=atol)


@needs_extra
@pytest.mark.parametrize("kind", ["ogg", "mp3"])
def test_lossy_formats(tmp_path: Path, kind: str) -> None:
    import soundfile

    if kind.upper() not in soundfile.available_formats():
        pytest.skip(f"this libsndfile writes no {kind}")
    samples = speech(1.0)
    soundfile.write(tmp_path / f"a.{kind}", samples, RATE)
    loaded = load_mono(tmp_path / f"a.{kind}", RATE)
    assert abs(len(loaded) - len(samples)) < 3000
    assert 0.5 < np.std(loaded) / np.std(samples) < 1.5


@needs_extra
@pytest.mark.parametrize("chunk", [1, 160, 997, 8000])
def test_resampling_does_not_depend_on_the_chunks(chunk: int) -> None:
    samples = speech(0.5, rate_hz=8000)
    whole = StreamResampler(8000, RATE).push(samples, last=True)
    stream = StreamResampler(8000, RATE)
    cut = [samples[start : start + chunk] for start in range(0, len(samples), chunk)]
    parts = [stream.push(part) for part in cut]
    parts.append(stream.push(np.empty(0, np.float32), last=True))
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)


def test_the_same_rate_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)
    samples = speech(0.1)
    assert StreamResampler(RATE, RATE).push(samples) is samples


def truncated(path: Path) -> Path:
    write_wave(path, speech(1.0))
    path.write_bytes(path.read_bytes()[:20001])
    return path


def header_only(path: Path) -> Path:
    write_wave(path, speech(1.0))
    path.write_bytes(path.read_bytes()[:30])
    return path


def written(content: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return make


def no_rate(path: Path) -> Path:
    write_wave(path, speech(0.1))
    content = bytearray(path.read_bytes())
    content[24:32] = bytes(8)
    path.write_bytes(bytes(content))
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (truncated, "truncated"),
        (header_only, "cannot be read"),
        (written(b""), "empty"),
        (written(b"hello, this is text and no audio\n" * 20), "cannot be read"),
        (written(bytes(range(256)) * 40), "cannot be read"),
        (written(b"RIFF"), "cannot be read"),
        (no_rate, "cannot be read|a sample rate of 0"),
        (lambda path: write_wave(path, np.zeros(0, np.float32)), "no audio samples"),
        (lambda path: path, "no such audio file"),
        (lambda path: path.parent, "is a folder"),
        (lambda path: path.with_name("x" * 300 + ".wav"), "cannot be read|no such audio file"),
    ],
)
def test_broken_files(reader: str, tmp_path: Path, make: Callable[[Path], Path], says: str) -> None:
    path = make(tmp_path / "bad.wav")
    with pytest.raises(InputError, match=says) as caught:
        load_mono(path, RATE)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert "()" not in message, "an empty reason helps nobody"


@needs_extra
def test_truncated_flac(tmp_path: Path) -> None:
    import soundfile

    path = tmp_path / "a.flac"
    soundfile.write(path, speech(2.0), RATE)
    whole = path.read_bytes()
    for share in (0.02, 0.3, 0.6, 0.95):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(InputError, match=r"truncated|cannot be read"):
            load_mono(path, RATE)


@needs_extra
def test_a_flac_of_unknown_length_is_read_to_its_end(tmp_path: Path) -> None:
    import soundfile

    path, samples = tmp_path / "streamed.flac", speech(2.3)
    soundfile.write(path, samples, RATE)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the 36 bits of the stream's length, and its MD5 sum
    content[22:42] = bytes(20)
    path.write_bytes(content)
    np.testing.assert_allclose(load_mono(path, RATE), samples, atol=1e-4)
    for share in (0.02, 0.3, 0.6, 0.95):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(InputError, match=r"cannot be read as audio"):
            load_mono(path, RATE)


@needs_extra
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(tmp_path: Path, bad: float) -> None:
    samples = speech(1.5)
    samples[20000] = bad
    path = write_float(tmp_path / "a.wav", samples)
    with pytest.raises(InputError, match=r"from sample 16000: sample 4000 is -?(nan|inf)"):
        load_mono(path, RATE)


def test_first_bad_sample_of_many_channels_is_named() -> None:
    samples = np.zeros((100, 2), np.float32)
    samples[7, 1] = np.nan
    with pytest.raises(InputError, match=r"sample 7 is nan"):
        check_finite(samples, "here")


def test_huge_but_finite_samples_are_numbers() -> None:
    check_finite(np.full(10, 3e38, np.float32), "here")  # their sum is infinite


@pytest.mark.parametrize("head", [b"fLaC", b"OggS", b"ID3\x04"])
def test_other_formats_without_soundfile_name_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: bytes
) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    path = tmp_path / "a.bin"
    path.write_bytes(head + bytes(200))
    with pytest.raises(MissingExtra, match=r"pip install 'edge-ser\[audio\]'"):
        load_mono(path, RATE)


def test_float_wav_without_soundfile_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(MissingExtra, match=r"soundfile .*edge-ser\[audio\]"):
        load_mono(write_float(tmp_path / "a.wav", speech(0.1)), RATE)


def test_another_rate_without_soxr_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)
    path = write_wave(tmp_path / "a.wav", speech(0.1, rate_hz=8000), rate_hz=8000)
    with pytest.raises(MissingExtra, match=r"8000 Hz to 16000 Hz.*edge-ser\[audio\]"):
        load_mono(path, RATE)


def test_mixing_keeps_one_channel_as_it_is() -> None:
    samples = speech(0.1)
    assert np.array_equal(mix_to_mono(samples[:, None]), samples)


def _wav(path: Path, *, rate_hz: int, riff: int, data: int, n: int = 8000) -> Path:
    """A 16-bit mono WAV whose header says what it is told to."""
    samples = (speech(n / 16_000) * 32767).astype("<i2").tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", riff, b"WAVE", b"fmt ", 16, 1, 1,
                       rate_hz, 2 * rate_hz, 2, 16, b"data", data)  # fmt: skip
    path.write_bytes(head + samples)
    return path


@pytest.mark.parametrize(("riff", "data"), [(2**32 - 1, 2**32 - 1), (2**31 + 36, 2**31)])
def test_a_wav_from_a_pipe_is_read_to_its_end(tmp_path: Path, riff: int, data: int) -> None:
    pytest.importorskip("soundfile", reason="the header is read by libsndfile")
    path = _wav(tmp_path / "piped.wav", rate_hz=16_000, riff=riff, data=data)
    assert len(load_mono(path, 16_000)) == 8000


def test_a_shortened_wav_is_still_truncated(tmp_path: Path) -> None:
    path = _wav(tmp_path / "cut.wav", rate_hz=16_000, riff=36 + 64_000, data=64_000)
    with pytest.raises(InputError, match="truncated"):
        load_mono(path, 16_000)


@pytest.mark.parametrize("rate_hz", [1, 4_000_000])
def test_a_rate_that_nobody_records_at(tmp_path: Path, rate_hz: int) -> None:
    path = _wav(tmp_path / "odd.wav", rate_hz=rate_hz, riff=36 + 16_000, data=16_000)
    with pytest.raises(InputError, match=f"sample rate of {rate_hz} Hz"):
        load_mono(path, 16_000)


def test_raw_samples_are_sent_to_standard_input(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(3200))
    with pytest.raises(InputError, match=r"edge-ser run - < a\.raw"):
        load_mono(path, RATE)


@needs_extra
def test_sizes_that_writers_get_wrong_are_no_truncation(tmp_path: Path) -> None:
    path = write_wave(tmp_path / "a.wav", speech(seconds=0.5))
    content = bytearray(path.read_bytes())
    content[4:8] = struct.pack("<I", struct.unpack("<I", content[4:8])[0] + 8)  # of the whole
    content[28:32] = struct.pack("<I", 12345)  # byte rate
    path.write_bytes(content)
    assert len(load_mono(path, RATE)) == 8000


def test_a_wav_of_unknown_length_is_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_wave(tmp_path / "a.wav", speech(seconds=0.5))
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(load_mono(path, RATE)) == 8000
    monkeypatch.setitem(sys.modules, "soundfile", None)  # as in the base install
    assert len(load_mono(path, RATE)) == 8000


@needs_extra
def test_a_cut_mp3_is_not_filled_up(tmp_path: Path) -> None:
    import soundfile

    path = tmp_path / "a.mp3"
    try:
        soundfile.write(path, np.tile(speech(seconds=2.0), 4), RATE, format="MP3")
    except (soundfile.LibsndfileError, ValueError):
        pytest.skip("this libsndfile writes no MP3")
    content = path.read_bytes()
    assert len(load_mono(path, RATE)) > 7 * RATE
    path.write_bytes(content[: len(content) // 4])
    with pytest.raises(InputError, match="truncated|cannot be read"):
        load_mono(path, RATE)
