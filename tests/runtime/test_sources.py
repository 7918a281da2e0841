"""Sources: files, raw samples on standard input, pacing."""

from __future__ import annotations

import io
import time
import wave
from pathlib import Path

import numpy as np
import pytest
from making.speech import speech_pcm

from edge_ser.errors import InputError
from edge_ser.runtime.sources import open_source, paced, read_raw


class Trickle(io.RawIOBase):
    """Gives ``data`` in pieces that cut samples in half, as a pipe may."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data, self._size = data, size

    def read(self, size: int = -1) -> bytes:
        piece, self._data = self._data[: self._size], self._data[self._size :]
        return piece


@pytest.mark.parametrize("size", [1, 3, 1279, 10**6])
def test_raw_samples_in_any_pieces(size: int) -> None:
    pcm = speech_pcm(0.2)
    parts = list(read_raw(Trickle(pcm.tobytes(), size)))  # type: ignore[arg-type]
    assert np.array_equal(np.concatenate(parts), pcm)
    assert all(len(part) for part in parts)


def test_raw_samples_that_end_in_half_a_sample() -> None:
    with pytest.raises(InputError, match="middle of a 16-bit sample"):
        list(read_raw(io.BytesIO(speech_pcm(0.2).tobytes() + b"\0")))


def test_nothing_on_standard_input_is_no_chunk() -> None:
    assert list(read_raw(io.BytesIO(b""))) == []


def test_a_file_is_a_source(tmp_path: Path) -> None:
    pcm = speech_pcm(1.2)
    with wave.open(str(tmp_path / "hello.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(pcm.tobytes())
    source = open_source(str(tmp_path / "hello.wav"), 16000)
    assert source.name == "hello"
    np.testing.assert_allclose(np.concatenate(list(source.chunks)), pcm / 32768, atol=1e-7)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.wav: no such audio file"):
        open_source(str(tmp_path / "none.wav"), 16000)


def test_pacing_keeps_the_samples_and_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    pcm = speech_pcm(1.005)
    given = []
    for part in paced([pcm[:5000], pcm[5000:]], 16000):
        given.append(part)
        heard = sum(map(len, given))
        assert clock[0] - 100.0 >= heard / 16000 - 1e-9, "no sample before its time"
        assert len(part) <= 320
    assert np.array_equal(np.concatenate(given), pcm)
    assert clock[0] - 100.0 == pytest.approx(1.005)
