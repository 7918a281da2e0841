"""What a start costs, measured in processes that have just begun."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_ser.errors import EdgeSerError
from edge_ser.runtime.child import code_command, last_line

__all__ = ["FreshProcesses", "child_environment", "fresh_processes"]

# Runs in the new process. It is text and not a module of this package, whose import would
# already have done half of what is to be measured.
_CHILD = """
import json, sys, time
begin = time.perf_counter_ns()
import edge_ser.runtime
package = time.perf_counter_ns() - begin
from edge_ser.runtime import Recognizer
imported = time.perf_counter_ns() - begin
import numpy
options = json.loads(sys.argv[1])
seconds = options.pop("seconds")
recognizer = Recognizer.open(options.pop("pack"), **options)
noise = numpy.random.default_rng(0).integers(-3000, 3000, recognizer.rate_hz).astype("int16")
step = recognizer.manifest.frontend.step_samples
with recognizer.stream() as stream:
    stream.push(noise[:step])[0].to_json()
    first_event = time.perf_counter_ns()
    for _ in range(seconds):
        stream.push(noise)
from edge_ser.runtime.bench.machine import resident_mb
print(json.dumps([package, imported, first_event, resident_mb()]))
"""


@dataclass(frozen=True)
class FreshProcesses:
    """Medians over several fresh processes, and every single value.

    Attributes:
        import_ms: until ``Recognizer`` can be used, ``from edge_ser.runtime import Recognizer``.
        package_import_ms: of ``import edge_ser.runtime`` alone, which loads nothing else yet.
        cold_start_ms: from the start of the process to the first event.
        rss_mb: resident memory after some seconds of streaming, None if not known here.
    """

    import_ms: tuple[float, ...]
    package_import_ms: tuple[float, ...]
    cold_start_ms: tuple[float, ...]
    rss_mb: tuple[float, ...] | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: every value."""
        return {
            "processes": len(self.import_ms),
            "import_ms": list(self.import_ms),
            "package_import_ms": list(self.package_import_ms),
            "cold_start_ms": list(self.cold_start_ms),
            "rss_mb": None if self.rss_mb is None else list(self.rss_mb),
        }

    def medians(self) -> dict[str, float | None]:
        """JSON-ready: the median of each."""
        return {
            "import_ms": statistics.median(self.import_ms),
            "package_import_ms": statistics.median(self.package_import_ms),
            "cold_start_ms": statistics.median(self.cold_start_ms),
            "rss_mb": None if self.rss_mb is None else statistics.median(self.rss_mb),
        }


def fresh_processes(
    pack: Path | str | None, *, processes: int = 3, seconds: int = 10, **options: Any
) -> FreshProcesses:
    """Start ``processes`` processes one after the other and let each stream for itself.

    Args:
        pack: as ``Recognizer.open`` takes it.
        processes: how many.
        seconds: of audio that each streams before its memory is looked at.
        options: further arguments of ``Recognizer.open``.

    Raises:
        EdgeSerError: a process failed; the message has its last words.
    """
    environment = child_environment()
    where = str(Path(pack).resolve()) if pack is not None and Path(pack).exists() else pack
    request = json.dumps({"pack": where, "seconds": seconds, **options})
    rows = []
    for _ in range(processes):
        begin = time.perf_counter_ns()
        # perf_counter is one clock for all processes, so the child's readings compare to ours.
        done = subprocess.run(
            code_command(_CHILD, request),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            words = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise EdgeSerError(f"a fresh process could not stream: {words[-1]}")
        answer = last_line(done.stdout)
        try:
            package_ns, imported_ns, first_event_ns, rss_mb = json.loads(answer)
        except (ValueError, TypeError):
            raise EdgeSerError(
                f"a fresh process ended with {answer[:80]!r} where its times were to come"
            ) from None
        rows.append((imported_ns, package_ns, first_event_ns - begin, rss_mb))
    imported, package, first_event, memory = zip(*rows, strict=True)
    return FreshProcesses(
        _milliseconds(imported),
        _milliseconds(package),
        _milliseconds(first_event),
        None if None in memory else memory,
    )


def child_environment() -> dict[str, str]:
    """Variables for a process whose start is measured."""
    # Whatever was installed has its bytecode; a checkout gets it from the first of these processes.
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def _milliseconds(durations_ns: tuple[int, ...]) -> tuple[float, ...]:
    return tuple(round(duration / 1e6, 3) for duration in durations_ns)
