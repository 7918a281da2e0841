"""A stream that runs for hours needs no more memory than one of a minute."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from making.speech import speech_pcm

from edge_ser.runtime import Recognizer

CHUNK = speech_pcm(1.0)


def test_python_memory_stays_flat(shared_pack: Path) -> None:
    stream = Recognizer.open(shared_pack).stream()

    def listen(seconds: int) -> None:
        for _ in range(seconds):
            stream.push(CHUNK)

    listen(10)
    gc.collect()
    tracemalloc.start()
    try:
        listen(10)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        listen(150)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000


def test_resident_memory_stays_flat(shared_pack: Path) -> None:
    psutil = pytest.importorskip("psutil", reason="needs psutil to see the native memory")
    recognizer = Recognizer.open(shared_pack)
    process = psutil.Process()

    def listen(n_streams: int) -> None:
        for _ in range(n_streams):
            stream = recognizer.stream()
            for _ in range(4):
                stream.push(CHUNK)
            stream.finish()

    listen(40)
    gc.collect()
    before = process.memory_info().rss
    listen(160)
    gc.collect()
    # A leak of one state per stream would be 10 times as much.
    assert process.memory_info().rss - before < 8 * 2**20


def test_the_last_verdict_does_not_depend_on_the_age_of_a_stream(shared_pack: Path) -> None:
    recognizer = Recognizer.open(shared_pack)
    quiet = np.zeros(16000, np.int16)
    young, old = recognizer.stream(), recognizer.stream()
    for _ in range(120):
        old.push(CHUNK)
    for stream in (young, old):
        for _ in range(12):  # the attention's past is 12 s away, the level has fallen
            stream.push(quiet)
    for _ in range(60):
        first, second = young.push(CHUNK), old.push(CHUNK)
    for one, other in zip(first, second, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=0.02)
