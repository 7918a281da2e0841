"""One benchmark from its settings to its document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import edge_ser
from edge_ser.errors import UsageError
from edge_ser.runtime.bench.audio import Samples, bench_audio
from edge_ser.runtime.bench.fresh import FreshProcesses, fresh_processes
from edge_ser.runtime.bench.later import measure_later
from edge_ser.runtime.bench.machine import fingerprint, resident_mb
from edge_ser.runtime.bench.offline import offline
from edge_ser.runtime.bench.single import StepTimes, single_stream
from edge_ser.runtime.bench.summary import milliseconds
from edge_ser.runtime.bench.whole import streams_in_time
from edge_ser.runtime.board import Board
from edge_ser.runtime.recognizer import Recognizer

__all__ = ["SCENARIOS", "BenchRun", "BenchSettings", "bench", "too_slow"]

SCENARIOS = ("single-stream", "multi-stream", "offline")
_OFFICIAL_S = 600.0  # LoadGen's least duration of a run that may be quoted


@dataclass(frozen=True)
class BenchSettings:
    """What to measure.

    Attributes:
        pack: as ``Recognizer.open`` takes it.
        engine: further arguments of ``Recognizer.open``.
        audio: file to stream, None for the bundled sample.
        seconds: of audio to stream and count.
        warmup_steps: steps before counting begins.
        paced: feed as slowly as a microphone does.
        scenarios: of ``SCENARIOS``; single stream is always there.
        seed: chooses where in the audio a stream begins.
        processes: fresh processes for the cold start, 0 for none.
    """

    pack: Path | str | None = None
    engine: dict[str, Any] = field(default_factory=dict)
    audio: Path | None = None
    seconds: float = 120.0
    warmup_steps: int = 50
    paced: bool = False
    scenarios: Sequence[str] = ("single-stream",)
    seed: int = 0
    processes: int = 5

    def __post_init__(self) -> None:
        unknown = [name for name in self.scenarios if name not in SCENARIOS]
        if unknown:
            raise UsageError(f"unknown scenario {unknown[0]!r}; known are {', '.join(SCENARIOS)}")
        if not self.seconds > 0 or self.warmup_steps < 0 or self.processes < 0:
            raise UsageError(
                f"need seconds above 0, warm-up steps and processes not below 0; got "
                f"{self.seconds:g}, {self.warmup_steps} and {self.processes}"
            )


@dataclass(frozen=True)
class BenchRun:
    """What came out.

    Attributes:
        document: the JSON document.
        times: every step of the single stream, for figures.
        failure: what a part after the single stream ended with, also if it was Ctrl-C; the
            document's ``missing`` names all such parts. None if everything was measured.
    """

    document: dict[str, Any]
    times: StepTimes
    failure: BaseException | None = None


def bench(
    settings: BenchSettings,
    *,
    board: Board | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> BenchRun:
    """Measure what ``settings`` ask for.

    What fails after the single stream is told in the result, which has all the rest.

    Raises:
        EdgeSerError: the pack, the engine or the audio cannot be used.
    """
    recognizer = Recognizer.open(settings.pack, **settings.engine)
    spec = recognizer.manifest.frontend
    audio = bench_audio(settings.audio, recognizer.rate_hz)
    n_steps = settings.warmup_steps + max(1, round(settings.seconds * 1000 / spec.step_ms))
    pcm = audio.repeated(n_steps * spec.step_samples, settings.seed)
    with ExitStack() as stack:
        board = board or stack.enter_context(Board())
        before = board.read()
        progress(f"single stream: {n_steps} steps{', as live' if settings.paced else ''}")
        times = single_stream(
            recognizer, pcm, warmup_steps=settings.warmup_steps, paced=settings.paced
        )
        after = board.read()
    parts: dict[str, Callable[[], Any]] = {}
    if "offline" in settings.scenarios:
        parts["offline"] = lambda: _offline(recognizer, pcm, progress)
    if "multi-stream" in settings.scenarios:
        parts["multi_stream"] = lambda: streams_in_time(
            recognizer,
            audio,
            pack=settings.pack,
            engine=settings.engine,
            audio_file=settings.audio,
            ticks=max(10, min(50, n_steps // 10)),
            seed=settings.seed,
            progress=progress,
        )
    if settings.processes:
        parts["fresh_processes"] = lambda: _fresh(settings, progress)
    # Before other scenarios take more than a stream does.
    rss_mb = _own_resident_mb(audio.clip.nbytes + times.n_bytes)
    later = measure_later(parts)
    started: dict[str, Any] = dict.fromkeys(("import_ms", "package_import_ms", "cold_start_ms"))
    starts: FreshProcesses | None = later.found.pop("fresh_processes", None)
    if starts is not None:
        started = starts.medians()
        rss_mb = started.pop("rss_mb")
    latency = milliseconds(times.step_ns)
    audio_s = len(times.step_ns) * spec.step_ms / 1e3
    document: dict[str, Any] = {
        "schema": "edge-ser.bench/1",
        "scenario": "single-stream",
        "headline": "latency_ms.p90",
        "steps": len(times.step_ns),
        "step_ms": spec.step_ms,
        "latency_ms": latency,
        "jitter_ms": round(latency["p99"] - latency["p50"], 4),
        "stages": {
            name: milliseconds(series, ("p50", "p99")) for name, series in times.stage_ns.items()
        },
        "real_time_factor": round(times.real_time_factor, 6),
        "deadline_misses": times.deadline_misses,
        "cpu_ms_per_audio_s": round(times.cpu_ns / 1e6 / audio_s, 4),
        "rss_mb": rss_mb,
        **started,
        "backend": recognizer.engine.backend,
        "precision": recognizer.engine.precision,
        "threads": settings.engine.get("threads", 1),
        "pack": recognizer.manifest.name,
        "audio": {"file": audio.name, "sha256": audio.sha256, "seconds": round(audio_s, 3)},
        "seed": settings.seed,
        "warmup_steps": settings.warmup_steps,
        "paced": settings.paced,
        # LoadGen wants ten minutes of run time, not of audio.
        "short_run": times.wall_ns / 1e9 < _OFFICIAL_S,
        "fresh_processes": None if starts is None else starts.to_dict(),
        **later.found,
        "machine": fingerprint(),
        "board": {"before": before.to_dict(), "after": after.to_dict()},
        "version": edge_ser.__version__,
    }
    if times.age_ns is not None:
        document["age_ms"] = milliseconds(times.age_ns)
    if later.missing:
        document["missing"] = later.missing
    return BenchRun(document, times, later.failure)


def _offline(
    recognizer: Recognizer, pcm: Samples, progress: Callable[[str], None]
) -> dict[str, float]:
    progress("offline")
    done = offline(recognizer, pcm)
    return {
        "hours_per_minute": round(done.hours_per_minute, 4),
        "audio_s": round(done.audio_s, 3),
        "cpu_ms_per_audio_s": round(done.cpu_s / done.audio_s * 1e3, 4),
    }


def _fresh(settings: BenchSettings, progress: Callable[[str], None]) -> FreshProcesses:
    progress(f"{settings.processes} fresh processes")
    return fresh_processes(
        settings.pack, processes=settings.processes, seconds=10, **settings.engine
    )


def _own_resident_mb(of_bench: int) -> float | None:
    """Resident memory without the ``of_bench`` bytes that only a benchmark holds."""
    resident = resident_mb()
    return None if resident is None else round(resident - of_bench / 1e6, 3)


def too_slow(document: dict[str, Any]) -> str | None:
    """Why the pack of this result cannot keep up with live audio, with the numbers; or None.

    The mean decides, but a stall that few steps had a part in is no fault of the pack.
    """
    latency, step_ms = document["latency_ms"], document["step_ms"]
    if document["real_time_factor"] < 1 or latency["p90"] <= step_ms:
        return None
    return (
        f"{document['pack']} is too slow for live audio here: a step of "
        f"{step_ms:g} ms of audio takes {latency['p50']:g} ms at the "
        f"median ({document['real_time_factor']:.2f} times real time in the mean, "
        f"{document['deadline_misses']} of {document['steps']} deadlines missed); "
        "take another precision or backend, or a smaller model"
    )
