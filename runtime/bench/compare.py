"""Two ways to run, in turn on the same audio, so that a busy machine disturbs both alike."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edge_ser
from edge_ser.errors import EdgeSerError, UsageError
from edge_ser.runtime.bench.audio import bench_audio
from edge_ser.runtime.bench.machine import fingerprint
from edge_ser.runtime.bench.ratios import block_ratios, total_ratio
from edge_ser.runtime.bench.summary import milliseconds
from edge_ser.runtime.recognizer import Recognizer
from edge_ser.runtime.stream import Stream

__all__ = ["Side", "compare"]


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        pack, backend, precision, threads: as ``Recognizer.open`` takes them.
        hooks: whether every profiling hook watches the stream.
    """

    pack: Path | str | None = None
    backend: str = "auto"
    precision: str = "auto"
    threads: int = 1
    hooks: bool = False

    def open(self) -> Recognizer:
        """The recognizer of this side."""
        return Recognizer.open(
            self.pack, backend=self.backend, precision=self.precision, threads=self.threads
        )


def compare(
    a: Side,
    b: Side,
    *,
    audio_file: Path | None = None,
    seconds: float = 240.0,
    warmup_steps: int = 50,
    block_steps: int = 25,
    seed: int = 0,
) -> dict[str, Any]:
    """Stream the same audio through both, a block of steps each in turn.

    Which of the two goes first in a block is drawn by ``seed``. The ratio of a block is that of
    its two medians (step time) or sums (processor time); the interval is a bootstrap over
    blocks of the median ratio (Efron, 1979, percentile interval). Where hooks could not do all
    their work, on a full disk, ``missing`` says so.

    Raises:
        UsageError: both sides are the same, or the audio makes fewer than four blocks.
        EdgeSerError: a pack, an engine, the audio or the clock cannot be used.
    """
    if block_steps < 1 or warmup_steps < 0:
        raise UsageError(f"blocks need 1 or more steps, got {block_steps}")
    of_a = a.open()  # a pack that is not there is told of as such
    if a == b:
        raise UsageError("A and B are the same; name another pack, or for example --b-threads 2")
    recognizers = (of_a, b.open())
    rate_hz, size = _common_step(recognizers)
    step_ms = 1000.0 * size / rate_hz
    blocks = int(seconds * 1000 / step_ms) // block_steps
    if blocks < 4:
        raise UsageError(
            f"{seconds:g} s make {max(blocks, 0)} blocks of {block_steps} steps; at least 4 are "
            f"needed, {4 * block_steps * step_ms / 1000:g} s"
        )
    audio = bench_audio(audio_file, rate_hz)
    n_steps = warmup_steps + blocks * block_steps
    pcm = audio.repeated(n_steps * size, seed)

    def chunks(first: int, n: int) -> list[NDArray[np.int16]]:
        return [pcm[i * size : (i + 1) * size] for i in range(first, first + n)]

    wall = np.zeros((2, blocks, block_steps), np.int64)
    cpu = np.zeros((2, blocks), np.int64)
    first = np.random.default_rng(seed).integers(2, size=blocks).tolist()
    measured = False
    missing: dict[str, str] = {}
    try:
        with ExitStack() as stack:
            streams = [
                stack.enter_context(
                    recognizer.stream(
                        name, hooks=_all_hooks(stack, recognizer) if side.hooks else ()
                    )
                )
                for name, side, recognizer in zip("ab", (a, b), recognizers, strict=True)
            ]
            for stream in streams:
                for step in range(warmup_steps):
                    stream.push(*chunks(step, 1))
            for block in range(blocks):
                part = chunks(warmup_steps + block * block_steps, block_steps)
                for side_index in (first[block], 1 - first[block]):
                    cpu[side_index, block] = _run_block(
                        streams[side_index], part, wall[side_index, block]
                    )
            measured = True
    except EdgeSerError as error:
        if not measured:
            raise
        missing["hooks"] = str(error)  # their files, on a full disk; all steps were measured
    medians = np.median(wall, axis=2)
    if not (medians > 0).all():
        raise EdgeSerError(
            "the clock of this machine is too coarse, stood still or went back; nothing to tell"
        )
    step_ratio = block_ratios(medians[0], medians[1], seed)
    cpu_ratio = block_ratios(cpu[0].astype(float), cpu[1].astype(float), seed)
    audio_s = blocks * block_steps * step_ms / 1000
    sides = [
        {
            **asdict(side),
            "pack": recognizer.manifest.name,
            "backend": recognizer.engine.backend,
            "precision": recognizer.engine.precision,
            "latency_ms": milliseconds(wall[i].ravel()),
            "cpu_ms_per_audio_s": round(float(cpu[i].sum()) / 1e6 / audio_s, 4),
        }
        for i, (side, recognizer) in enumerate(zip((a, b), recognizers, strict=True))
    ]
    return {
        "schema": "edge-ser.bench-compare/1",
        "a": sides[0],
        "b": sides[1],
        "ratio_b_to_a": {
            "step_time": step_ratio,
            "cpu_time": cpu_ratio,
            "cpu_total": total_ratio(cpu[0], cpu[1], seed),
        },
        "verdict": _verdict(step_ratio),
        "blocks": blocks,
        "block_steps": block_steps,
        "step_ms": step_ms,
        "warmup_steps": warmup_steps,
        "seed": seed,
        "audio": {"file": audio.name, "sha256": audio.sha256, "seconds": round(audio_s, 3)},
        "machine": fingerprint(),
        "version": edge_ser.__version__,
        **({"missing": missing} if missing else {}),
    }


def _run_block(stream: Stream, chunks: list[NDArray[np.int16]], taken: NDArray[np.int64]) -> int:
    clock = time.perf_counter_ns
    cpu = time.process_time_ns()
    for i, chunk in enumerate(chunks):
        begin = clock()
        stream.push(chunk)
        taken[i] = clock() - begin
    stream.settle()  # what hooks put off belongs to this block
    return time.process_time_ns() - cpu


def _common_step(recognizers: tuple[Recognizer, Recognizer]) -> tuple[int, int]:
    """Rate and samples of a step that both packs share."""
    steps = {(r.rate_hz, r.manifest.frontend.step_samples) for r in recognizers}
    if len(steps) > 1:
        (rate_a, size_a), (rate_b, size_b) = (
            (r.rate_hz, r.manifest.frontend.step_samples) for r in recognizers
        )
        raise UsageError(
            f"A has steps of {size_a} samples at {rate_a} Hz and B of {size_b} at {rate_b} Hz; "
            "only packs with equal steps can be compared"
        )
    return steps.pop()


def _all_hooks(stack: ExitStack, recognizer: Recognizer) -> list[Any]:
    from edge_ser.runtime.hooks import every_hook

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-ser-")))
    return stack.enter_context(every_hook(folder, recognizer))


def _verdict(ratio: dict[str, Any]) -> str:
    low, high = ratio["interval_95"]
    if low <= 1 <= high:
        return "no difference in step time that this run could tell from chance"
    # "B needs 0.50 times A's time" is harder to misread than percentages.
    return f"a step of B takes {ratio['median']:.2f} times as long as one of A"
