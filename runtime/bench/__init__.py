"""Measures of the whole path, samples in to event out, that a reader can repeat.

Scenarios are named after MLPerf's LoadGen: single stream, multi-stream, offline. Needs only
what the runtime needs.
"""

from __future__ import annotations

from edge_ser.runtime.bench.audio import BenchAudio, bench_audio
from edge_ser.runtime.bench.fresh import FreshProcesses, fresh_processes
from edge_ser.runtime.bench.machine import fingerprint
from edge_ser.runtime.bench.multi import MultiStream, multi_stream
from edge_ser.runtime.bench.offline import Offline, offline
from edge_ser.runtime.bench.single import StepTimes, single_stream

__all__ = [
    "BenchAudio",
    "FreshProcesses",
    "MultiStream",
    "Offline",
    "StepTimes",
    "bench_audio",
    "fingerprint",
    "fresh_processes",
    "multi_stream",
    "offline",
    "single_stream",
]
