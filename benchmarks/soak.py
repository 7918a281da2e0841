"""Hours of audio as fast as possible: does a step stay as quick, memory as small, scores the same?

``python -m benchmarks.soak --hours 24`` prints a line an hour and exits with 3 when the last
hour's median is 5 % above the first's, memory grew by 1 MB, or scores drifted.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.cli.bounds import real, whole
from edge_ser.errors import EdgeSerError
from edge_ser.runtime import Recognizer
from edge_ser.runtime.bench import BenchAudio, bench_audio, fingerprint
from edge_ser.runtime.bench.machine import resident_mb
from edge_ser.runtime.bench.summary import milliseconds

__all__ = ["soak", "verdicts"]

_FRESH_S = 60.0
_SETTLE_S = 180.0
"""Speech after which the memory of a stream holds nothing of what came before."""
_WARMUP_STEPS = 200
_MOST_HOURS = 10_000.0
_MOST_SLOWER, _MOST_GROWTH_MB, _MOST_DRIFT = 1.05, 1.0, 1e-5


def soak(
    recognizer: Recognizer,
    audio: BenchAudio,
    *,
    hours: float,
    block_hours: float = 1.0,
    fresh_s: float = _FRESH_S,
    settle_s: float = _SETTLE_S,
    seed: int = 0,
    progress: Callable[[dict[str, Any]], None] = lambda row: None,
) -> dict[str, Any]:
    """Push ``hours`` of ``audio`` through one stream.

    At the end the old stream and a new one hear the same. What was heard before fades with
    speech, not with time, so their scores are compared over the last ``fresh_s`` seconds after
    ``settle_s`` seconds of speech. Then the old one begins anew and must say what a new one says
    from the first step on.

    Returns:
        JSON-ready: a row per block of ``block_hours``, growth of memory, drift of scores.

    Raises:
        EdgeSerError: the clock did not go forward.
    """
    spec = recognizer.manifest.frontend
    size = spec.step_samples
    steps = max(1, round(block_hours * 3.6e6 / spec.step_ms))
    blocks = max(1, round(hours / block_hours))
    loop = audio.take(len(audio.clip) // size * size or size, seed)
    chunks = [loop[i : i + size] for i in range(0, len(loop), size)]
    taken = np.zeros(steps, np.int64)
    clock = time.perf_counter_ns
    rows: list[dict[str, Any]] = []
    stream = recognizer.stream("soak")
    for step in range(_WARMUP_STEPS):
        stream.push(chunks[step % len(chunks)])
    before_mb = resident_mb()
    position = 0
    for block in range(blocks):
        for step in range(steps):
            begin = clock()
            stream.push(chunks[position])
            taken[step] = clock() - begin
            position = (position + 1) % len(chunks)
        rows.append(
            {
                "hour": round((block + 1) * block_hours, 6),
                "latency_ms": milliseconds(taken, ("p50", "p99", "max")),
                "rss_mb": resident_mb(),
            }
        )
        progress(rows[-1])
    first, last = (rows[i]["latency_ms"]["p50"] for i in (0, -1))
    if first <= 0:
        raise EdgeSerError("the clock of this machine stood still or went back; nothing to tell")
    after_mb = resident_mb()
    same = audio.take(max(size, round((settle_s + fresh_s) * spec.rate_hz)), seed + 1)
    skip = round(1000 * settle_s / spec.step_ms)
    drift = _distance(stream, recognizer.stream("fresh"), same, size, skip)
    stream.restart("again", 0)
    restarted = _distance(stream, recognizer.stream("fresh"), same[: 100 * size], size, 0)
    growth = None if before_mb is None or after_mb is None else round(after_mb - before_mb, 3)
    return {
        "schema": "edge-ser.soak/1",
        "pack": recognizer.manifest.name,
        "precision": recognizer.engine.precision,
        "backend": recognizer.engine.backend,
        "hours": blocks * block_hours,
        "blocks": rows,
        "last_to_first_median": round(last / first, 4),
        "rss_growth_mb": growth,
        "score_drift": drift,
        "restart_difference": restarted,
        "seed": seed,
        "audio": {"file": audio.name, "sha256": audio.sha256},
        "machine": fingerprint(),
    }


def verdicts(document: dict[str, Any]) -> list[str]:
    """What is wrong, nothing if all is well."""
    wrong = []
    if document["last_to_first_median"] > _MOST_SLOWER:
        wrong.append(f"the last median is {document['last_to_first_median']:.3f} times the first")
    growth = document["rss_growth_mb"]
    if growth is not None and growth >= _MOST_GROWTH_MB:
        wrong.append(f"memory grew by {growth:.2f} MB")
    if not document["score_drift"] <= _MOST_DRIFT:
        wrong.append(f"scores differ from a fresh stream's by {document['score_drift']:.2g}")
    if not document["restart_difference"] <= _MOST_DRIFT:
        wrong.append(
            f"a restarted stream differs from a fresh one by {document['restart_difference']:.2g}"
        )
    return wrong


def _distance(old: Any, new: Any, pcm: NDArray[np.int16], size: int, skip: int) -> float:
    """Largest difference of a probability over the steps after the first ``skip``."""
    largest = 0.0
    for index in range(len(pcm) // size):
        chunk = pcm[index * size : (index + 1) * size]
        (a,), (b,) = old.push(chunk), new.push(chunk)
        if index >= skip:
            pairs = zip(a.probabilities.values(), b.probabilities.values(), strict=True)
            # A NaN must not hide behind max().
            largest = float(np.max([largest, *(abs(x - y) for x, y in pairs)]))
    return largest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--pack", help="pack (default: the bundled pack)")
    parser.add_argument("--precision", default="auto", choices=["auto", "int8", "fp16", "fp32"])
    parser.add_argument("--input", help="audio (default: the bundled sample)")
    parser.add_argument("--hours", type=real(0.0, _MOST_HOURS, above=True), default=24.0)
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)

    def progress(row: dict[str, Any]) -> None:
        memory = "" if row["rss_mb"] is None else f"   {row['rss_mb']:.2f} MB"
        times = row["latency_ms"]
        print(
            f"hour {row['hour']:g}   p50 {times['p50']:.4f} ms   p99 {times['p99']:.4f} ms{memory}",
            file=sys.stderr,
            flush=True,
        )

    try:
        recognizer = Recognizer.open(options.pack, precision=options.precision)
        audio = bench_audio(options.input, recognizer.rate_hz)
        document = soak(
            recognizer,
            audio,
            hours=options.hours,
            block_hours=min(1.0, options.hours / 2),
            seed=options.seed,
            progress=progress,
        )
    except EdgeSerError as error:
        print(f"benchmarks.soak: {error}", file=sys.stderr)
        return error.exit_status
    wrong = verdicts(document)
    if options.json:
        print(json.dumps({**document, "wrong": wrong}, indent=1))
    else:
        growth = document["rss_growth_mb"]
        print(f"last block's median: {document['last_to_first_median']:.3f} times the first's")
        print(f"memory growth: {'unknown' if growth is None else f'{growth:.2f} MB'}")
        print(f"largest difference to a fresh stream: {document['score_drift']:.2g}")
        print(f"the same after a restart: {document['restart_difference']:.2g}")
        for reason in wrong:
            print(f"WRONG: {reason}")
    return 3 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
