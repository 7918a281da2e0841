"""All systems in turn on the same second of audio, so that whatever disturbs, disturbs all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.peer import RATE_HZ, Feed, Peer

__all__ = ["Measured", "measure"]


@dataclass
class Measured:
    """What a system took.

    Attributes:
        cpu_ns: processor time of the process for each second of audio, all threads.
        wall_ns: of every single call that gives a result.
        rss_mb: of a process that runs this system only; None until measured.
    """

    peer: Peer
    cpu_ns: list[int] = field(default_factory=list)
    wall_ns: list[int] = field(default_factory=list)
    rss_mb: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        peer = self.peer
        wall = np.array(self.wall_ns) / 1e6
        cpu = np.array(self.cpu_ns) / 1e6
        hop_ms = 1000 * peer.hop / RATE_HZ
        p90 = float(np.percentile(wall, 90))
        return {
            "name": peer.name,
            "title": peer.title,
            "gives": peer.gives,
            "version": peer.version,
            "settings": peer.settings,
            "cpu_ms_per_audio_s": {
                "median": round(float(np.median(cpu)), 4),
                "quartiles": [round(float(v), 4) for v in np.percentile(cpu, (25, 75))],
            },
            "call_ms": {"p50": round(float(np.median(wall)), 4), "p90": round(p90, 4)},
            "hop_ms": hop_ms,
            # A sound waits at most one hop until it is looked at, then for the computation.
            "latency_ms": round(hop_ms + p90, 3),
            "rss_mb": self.rss_mb,
        }


def measure(
    peers: Sequence[Peer],
    pcm: NDArray[np.int16],
    *,
    warmup_s: int = 4,
    seed: int = 0,
    missing: dict[str, str] | None = None,
) -> list[Measured]:
    """Run every system over ``pcm``, a second of it each in turn, in an order that is drawn.

    A system whose hop does not divide a second takes its samples as they suffice; its time is
    divided by the audio that it really took.

    Args:
        pcm: ``(n,) int16`` at 16 kHz.
        warmup_s: seconds that are not counted.
        seed: of the order.
        missing: takes why a system could not be loaded, by its name; None lets it be an error.
    """
    feeds, loaded = list[Feed](), list[Peer]()
    for peer in peers:
        try:
            feeds.append(peer.load())
        except ImportError as error:
            if missing is None:
                raise
            missing[peer.name] = str(error)
        else:
            loaded.append(peer)
    peers = loaded
    results = [Measured(peer) for peer in peers]
    taken = [0] * len(peers)
    rng = np.random.default_rng(seed)
    for second in range(len(pcm) // RATE_HZ):
        for index in rng.permutation(len(peers)).tolist():
            counted = second >= warmup_s
            until = (second + 1) * RATE_HZ
            into = results[index] if counted else Measured(peers[index])
            taken[index] = _run(feeds[index], pcm, taken[index], until, into)
    return results


def _run(feed: Feed, pcm: NDArray[np.int16], begin: int, until: int, into: Measured) -> int:
    hop, position = into.peer.hop, begin
    clock = time.perf_counter_ns
    cpu = time.process_time_ns()
    while position + hop <= until:
        start = clock()
        feed(pcm[position : position + hop])
        into.wall_ns.append(clock() - start)
        position += hop
    cpu = time.process_time_ns() - cpu
    if position > begin:
        into.cpu_ns.append(round(cpu * RATE_HZ / (position - begin)))
    return position
