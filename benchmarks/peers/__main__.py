"""``python -m benchmarks.peers``."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.measure import measure
from benchmarks.peers.peer import RATE_HZ, Peer
from benchmarks.peers.show import figure, table
from benchmarks.peers.systems import edge_ser, systems
from edge_ser.errors import EdgeSerError
from edge_ser.files import write_text
from edge_ser.runtime.bench import bench_audio, fingerprint
from edge_ser.runtime.bench.machine import resident_mb

_MEMORY_S = 6


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--pack", help="pack to run (default: the bundled pack)")
    parser.add_argument("--precision", default="auto", choices=["auto", "int8", "fp16", "fp32"])
    parser.add_argument("--input", type=Path, help="audio (default: the bundled sample)")
    parser.add_argument("--seconds", type=int, default=60, help="of audio (default: 60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", action="append", choices=list(systems()), help="peers to run, repeatable"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave the memory out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the numbers")
    parser.add_argument("--figure", type=Path, metavar="FILE.png", help="draw them (or .svg)")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.seconds < 6:
        parser.error("at least 6 seconds are needed, of which 4 are warm-up")
    try:
        return _run(options)
    except EdgeSerError as error:
        print(f"benchmarks.peers: {error}", file=sys.stderr)
        return error.exit_status


def _run(options: argparse.Namespace) -> int:
    audio = bench_audio(options.input, RATE_HZ)
    if options.memory_of:
        peers, _ = _peers(options, [options.memory_of])
        measure(peers, audio.take(_MEMORY_S * RATE_HZ, options.seed), warmup_s=0)
        print(resident_mb())
        return 0
    peers, missing = _peers(options, ["edge-ser", *(options.only or systems())])
    results = measure(peers, audio.take(options.seconds * RATE_HZ, options.seed), seed=options.seed)
    for result in results:
        if not options.no_memory:
            result.rss_mb = _memory(result.peer.name)
    document = {
        "schema": "edge-ser.peers/1",
        "systems": [result.to_dict() for result in results],
        "missing": missing,
        "audio": {"file": audio.name, "sha256": audio.sha256},
        "audio_s": options.seconds,
        "seed": options.seed,
        "threads": 1,
        "machine": fingerprint(),
    }
    print(table(document))
    if options.json:
        write_text(options.json, json.dumps(document, indent=1) + "\n")
    if options.figure:
        figure(document, options.figure)
    return 0


def _peers(options: argparse.Namespace, names: list[str]) -> tuple[list[Peer], dict[str, str]]:
    makers = {"edge-ser": lambda: edge_ser(options.pack, options.precision), **systems()}
    peers, missing = [], {}
    for name in names:
        try:
            peers.append(makers[name]())
        except ImportError as error:
            missing[name] = str(error)
    return peers, missing


def _memory(name: str) -> float:
    """Resident memory of a process that runs only the system ``name``, with our own reader."""
    command = [sys.executable, "-m", "benchmarks.peers", *sys.argv[1:], "--memory-of", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EdgeSerError(f"the memory of {name} cannot be measured: {done.stderr.strip()}")
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    sys.exit(main())
