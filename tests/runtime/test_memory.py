"""A stream that runs for hours needs no more memory than one of a minute."""

from __future__ import annotations

import gc
import math
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
        listen(60)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000


def test_resident_memory_stays_flat(shared_pack: Path) -> None:
    psutil = pytest.importorskip("psutil", reason="needs psutil to see the native memory")
    recognizer = Recognizer.open(shared_pack)
    process = psutil.Process()

    states = next(iter(recognizer.manifest.targets.values())).states
    itemsize = {"float32": 4, "uint8": 1, "int8": 1}
    bytes_of_a_stream = 2 * sum(math.prod(s.shape) * itemsize[s.dtype] for s in states)
    n_streams = 1 + 16 * 2**20 // bytes_of_a_stream

    def open_streams(n: int) -> None:
        for _ in range(n):
            stream = recognizer.stream()
            stream.push(CHUNK[:1280])
            stream.finish()

    open_streams(n_streams // 4)
    gc.collect()
    before = process.memory_info().rss
    open_streams(n_streams)
    gc.collect()
    # Streams that stayed would hold 16 MiB in their states alone.
    assert process.memory_info().rss - before < 8 * 2**20


def test_the_last_verdict_does_not_depend_on_the_age_of_a_stream(shared_pack: Path) -> None:
    recognizer = Recognizer.open(shared_pack)
    quiet = np.zeros(16000, np.int16)
    young, old = recognizer.stream(), recognizer.stream()
    for _ in range(60):
        old.push(CHUNK)
    for stream in (young, old):
        for _ in range(12):  # the attention's past is 12 s away, the level has fallen
            stream.push(quiet)
    for _ in range(40):
        first, second = young.push(CHUNK), old.push(CHUNK)
    for one, other in zip(first, second, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=0.02)
