"""``python -m benchmarks.peers``."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.measure import measure
from benchmarks.peers.peer import RATE_HZ, Peer
from benchmarks.peers.show import check_figure, figure, table
from benchmarks.peers.systems import edge_ser, systems
from edge_ser.cli.bounds import whole
from edge_ser.cli.outputs import check_outputs
from edge_ser.errors import EdgeSerError
from edge_ser.files import write_text
from edge_ser.runtime.bench import bench_audio, fingerprint
from edge_ser.runtime.bench.machine import resident_mb
from edge_ser.runtime.child import last_line

_MEMORY_S = 6
_LEAST_S, _MOST_S = 6, 3600


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--pack", help="pack to run (default: the bundled pack)")
    parser.add_argument("--precision", default="auto", choices=["auto", "int8", "fp16", "fp32"])
    parser.add_argument("--input", type=Path, help="audio (default: the bundled sample)")
    parser.add_argument(
        "--seconds",
        type=whole(_LEAST_S, _MOST_S),
        default=60,
        help=f"of audio, {_LEAST_S} or more, of which 4 are warm-up (default: 60)",
    )
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.add_argument(
        "--only", action="append", choices=list(systems()), help="peers to run, repeatable"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave the memory out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the numbers")
    parser.add_argument("--figure", type=Path, metavar="FILE.png", help="draw them (or .svg)")
    parser.add_argument("--memory-of", choices=["edge-ser", *systems()], help=argparse.SUPPRESS)
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(words)
    try:
        check_outputs({"json": options.json, "figure": options.figure}, options.input)
        if options.figure:
            check_figure(options.figure)
        return _run(options, words)
    except EdgeSerError as error:
        print(f"benchmarks.peers: {error}", file=sys.stderr)
        return error.exit_status


def _run(options: argparse.Namespace, words: list[str]) -> int:
    audio = bench_audio(options.input, RATE_HZ)
    if options.memory_of:
        peers, _ = _peers(options, [options.memory_of])
        measure(peers, audio.take(_MEMORY_S * RATE_HZ, options.seed), warmup_s=0)
        print(json.dumps(resident_mb()))
        return 0
    peers, missing = _peers(options, ["edge-ser", *(options.only or systems())])
    pcm = audio.take(options.seconds * RATE_HZ, options.seed)
    results = measure(peers, pcm, seed=options.seed, missing=missing)
    failure: EdgeSerError | None = None
    for result in () if options.no_memory else results:
        try:
            result.rss_mb = _memory(result.peer.name, words)
        except EdgeSerError as error:  # the times are there, and took longer to get
            failure = failure or error
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
    if failure is not None:
        raise failure
    return 0


def _peers(options: argparse.Namespace, names: list[str]) -> tuple[list[Peer], dict[str, str]]:
    makers = {"edge-ser": lambda: edge_ser(options.pack, options.precision), **systems()}
    peers, missing = [], {}
    for name in dict.fromkeys(names):
        try:
            peers.append(makers[name]())
        except ImportError as error:
            missing[name] = str(error)
    return peers, missing


def _memory(name: str, words: list[str]) -> float | None:
    """Resident memory of a process that runs only the system ``name``, with our own reader."""
    command = [sys.executable, "-m", "benchmarks.peers", *words, "--memory-of", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise EdgeSerError(f"the memory of {name} cannot be measured: {why}")
    memory: float | None = json.loads(last_line(done.stdout))
    return memory


if __name__ == "__main__":
    sys.exit(main())
