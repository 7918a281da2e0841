"""Multi-stream on the whole machine: one process per core, all of them in time."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_ser.errors import EdgeSerError
from edge_ser.runtime.bench.audio import BenchAudio
from edge_ser.runtime.bench.fresh import child_environment
from edge_ser.runtime.bench.multi import MultiStream, Trial, multi_stream, search
from edge_ser.runtime.bench.summary import milliseconds
from edge_ser.runtime.child import module_command
from edge_ser.runtime.recognizer import Recognizer

__all__ = ["WholeMachine", "streams_in_time", "usable_cores", "whole_machine"]


@dataclass(frozen=True)
class WholeMachine:
    """The trials of a search in which every process has the same number of streams.

    Attributes:
        processes: how many, of one thread each.
        trials: streams of one process, and the ticks of the process with the longest p99.
    """

    processes: int
    trials: tuple[Trial, ...]

    @property
    def streams_per_process(self) -> int:
        """The most that every process held at the same time."""
        return max((trial.streams for trial in self.trials if trial.held), default=0)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``streams`` are those of all processes together."""
        each = self.streams_per_process
        trials = [trial.to_dict() for trial in sorted(self.trials, key=lambda t: t.streams)]
        for trial in trials:
            trial["streams"] *= self.processes
        return {
            "streams": each * self.processes,
            "processes": self.processes,
            "threads": 1,
            "streams_per_process": each,
            "trials": trials,
        }


def streams_in_time(
    recognizer: Recognizer,
    audio: BenchAudio,
    *,
    pack: Path | str | None,
    engine: dict[str, Any],
    audio_file: Path | None,
    ticks: int,
    seed: int,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """The multi-stream part of a benchmark's document: one process, then the whole machine.

    Args:
        recognizer: what ``pack`` and ``engine`` open.
        audio: what ``audio_file`` holds.
    """
    progress("multi-stream: searching for the most streams")
    found = multi_stream(recognizer, audio, ticks=ticks, seed=seed)
    threads, processes = engine.get("threads", 1), usable_cores()
    if processes == 1 and threads == 1:
        whole = WholeMachine(1, found.trials)
    else:
        progress(f"multi-stream: the same in {processes} processes at once")
        whole = whole_machine(
            pack,
            engine,
            audio_file,
            processes=processes,
            deadline_ns=found.trials[0].deadline_ns,
            ticks=ticks,
            seed=seed,
            # What is too many for a process alone is too many beside others.
            most=(found.streams or 1) if threads == 1 else None,
        )
    return _document(found, whole, ticks=ticks, threads=threads)


def _document(
    found: MultiStream, whole: WholeMachine, *, ticks: int, threads: int
) -> dict[str, Any]:
    return {
        "ticks": ticks,
        "threads": threads,
        **found.to_dict(),
        "whole_machine": whole.to_dict(),
    }


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def whole_machine(
    pack: Path | str | None,
    engine: dict[str, Any],
    audio_file: Path | None,
    *,
    processes: int,
    deadline_ns: int,
    ticks: int,
    seed: int = 0,
    most: int | None = None,
) -> WholeMachine:
    """Search for the most streams that ``processes`` processes serve in time, all at once.

    Args:
        pack: as ``Recognizer.open`` takes it.
        engine: further arguments of ``Recognizer.open``; every process has one thread.
        audio_file: None for the bundled sample.
        deadline_ns: what a tick may take.
        most: streams of one process to begin with, which are not exceeded; None for unknown.

    Raises:
        EdgeSerError: a process failed; the message has its last words.
    """
    settings = {
        "pack": str(Path(pack).resolve()) if pack is not None and Path(pack).exists() else pack,
        "engine": {**engine, "threads": 1},
        "audio": None if audio_file is None else str(audio_file),
        "ticks": ticks,
        "deadline_ns": deadline_ns,
    }
    with ExitStack() as stack:
        workers = [
            stack.enter_context(_Worker({**settings, "seed": seed + index}))
            for index in range(processes)
        ]

        def attempt(n_streams: int) -> Trial:
            _tell(workers, str(n_streams))
            for worker in workers:
                worker.answer("ready")
            _tell(workers, "go")
            ticks_ns = [np.array(json.loads(worker.answer("[")), np.int64) for worker in workers]
            _tell(workers, "stop")
            slowest = max(ticks_ns, key=lambda ticks: milliseconds(ticks, ("p99",))["p99"])
            return Trial(n_streams, slowest, deadline_ns)

        if most is None:
            return WholeMachine(processes, search(attempt))
        return WholeMachine(processes, search(attempt, guess=most, most=most))


class _Worker:
    """A process of ``edge_ser.runtime.bench.worker``, as long as the context lasts."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self._process = subprocess.Popen(
            module_command("edge_ser.runtime.bench.worker", json.dumps(settings)),
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def tell(self, order: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(order + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._failure() from None

    def answer(self, begin: str) -> str:
        """The next line that begins so; a ``sitecustomize`` may say others before."""
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith(begin):
                return line.strip()
        raise self._failure()

    def _failure(self) -> EdgeSerError:
        status = self._process.wait()
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace").strip().splitlines()
        return EdgeSerError(
            f"a process of multi-stream failed: {words[-1] if words else f'exit status {status}'}"
        )


def _tell(workers: Sequence[_Worker], order: str) -> None:
    for worker in workers:
        worker.tell(order)
