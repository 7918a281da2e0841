"""What listening costs while nobody speaks, without the system's audio: gate, model, events.

    python -m benchmarks.silence

Prints, as JSON, milliseconds of CPU time per second of audio in silence (noise at -66 dBFS) and
in the bundled sample of speech, pushed in the blocks of a microphone as fast as they go, each
the median of the rounds, which take turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

import numpy as np
from numpy.typing import NDArray

from edge_ser.audio import load_mono
from edge_ser.runtime import Recognizer
from edge_ser.runtime.live import LiveStream
from edge_ser.runtime.sources import DEMO

BLOCK = 320  # 20 ms


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pack", help="(default: the bundled pack)")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    recognizer = Recognizer.open(options.pack)
    speech = load_mono(DEMO, recognizer.rate_hz)
    quiet = 0.0005 * np.random.default_rng(0).standard_normal(20 * recognizer.rate_hz)
    costs: dict[str, list[float]] = {"silence": [], "speech": []}
    for _ in range(options.rounds):
        costs["silence"].append(cost(recognizer, quiet.astype(np.float32)))
        costs["speech"].append(cost(recognizer, speech))
    ms = {name: statistics.median(values) for name, values in costs.items()}
    json.dump(
        {
            "cpu_ms_per_second": {name: round(value, 2) for name, value in ms.items()},
            "ratio": round(ms["silence"] / ms["speech"], 3),
        },
        sys.stdout,
    )
    print()


def cost(recognizer: Recognizer, samples: NDArray[np.float32]) -> float:
    """Milliseconds of CPU time per second of ``samples``."""
    live = LiveStream(recognizer)
    live.push(samples[: recognizer.rate_hz])  # what is done once
    begin = time.process_time()
    for start in range(recognizer.rate_hz, len(samples), BLOCK):
        for event in live.push(samples[start : start + BLOCK]):
            event.to_json()
    passed = time.process_time() - begin
    return 1000 * passed / (len(samples) / recognizer.rate_hz - 1)


if __name__ == "__main__":
    main()
