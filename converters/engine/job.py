"""One build in a process of its own.

TensorRT keeps state between builds (an SM75 build that failed makes the next one, for SM86,
fall back to FP16 convolutions), crashes take the process along, and the kernel kills whoever
runs out of memory. None of that may reach the caller.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from edge_ser.converters.engine.builder import Plan, Progress, build_plan
from edge_ser.converters.engine.settings import BuildSettings
from edge_ser.engines import TensorRecord, load_bindings
from edge_ser.errors import BackendError, EdgeSerError

__all__ = ["build_apart"]

log = logging.getLogger(__name__)
_MARK = "edge-ser-progress "
_STILL_S = 120.0
"""A child that uses no processor for so long hangs: TensorRT may wait for ever for a worker thread
that an allocation failed in."""
_FAILED = 17  # a refusal with its reason in result.json
_NO_MEMORY = ("bad_alloc", "MemoryError", "Cannot allocate memory", "out of memory")
_OOM_COUNTERS = tuple(
    Path(name)
    for name in (
        "/proc/vmstat",
        "/sys/fs/cgroup/memory.events",
        "/sys/fs/cgroup/memory/memory.oom_control",
    )
)


def build_apart(backend: str, onnx: bytes, settings: BuildSettings, progress: Progress) -> Plan:
    """Build in a subprocess.

    Raises:
        BackendError: the build failed, crashed or was killed; with the reason.
    """
    with tempfile.TemporaryDirectory(prefix="edge-ser-build-") as name:
        folder = Path(name)
        (folder / "model.onnx").write_bytes(onnx)
        order = {"backend": backend, "settings": settings.to_dict()}
        (folder / "order.json").write_text(json.dumps(order))
        before = _oom_kills()
        status, tail = _run(folder, progress)
        if status == _FAILED:
            failure = json.loads((folder / "result.json").read_text())
            raise BackendError(failure["error"])
        if status != 0:
            raise BackendError(_death(status, tail, settings, _oom_kills() - before))
        result = json.loads((folder / "result.json").read_text())
        return Plan(
            (folder / "engine").read_bytes(),
            tuple(
                TensorRecord(t["name"], t["mode"], t["dtype"], tuple(t["shape"]))
                for t in result["tensors"]
            ),
            result["layers"],
            tuple(result["warnings"]),
        )


def _run(folder: Path, progress: Progress) -> tuple[int, list[str]]:
    """Exit status and last lines of the child; its progress is passed on."""
    command = [sys.executable, "-m", __name__, str(folder)]
    tail: list[str] = []
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
        env={**os.environ, "PYTHONSAFEPATH": "1"},  # a json.py where the user stands is not ours
    ) as child:  # fmt: skip
        assert child.stdout is not None
        over = threading.Event()
        watch = threading.Thread(target=_end_if_still, args=(child, over), daemon=True)
        watch.start()
        try:
            for line in child.stdout:
                if line.startswith(_MARK):
                    phase, done, total = json.loads(line[len(_MARK) :])
                    progress(phase, done, total)
                else:
                    log.debug("%s", line.rstrip())
                    tail = [*tail[-19:], line.rstrip()]
        except BaseException:
            child.kill()
            raise
        finally:
            over.set()
    return child.returncode, tail


def _end_if_still(child: subprocess.Popen[str], over: threading.Event) -> None:
    """Kill ``child`` once it has used no processor time for :data:`_STILL_S` seconds."""
    used, since = None, time.monotonic()
    while not over.wait(1.0):
        now = _ticks(child.pid)
        if now is None:
            return
        if now != used:
            used, since = now, time.monotonic()
        elif time.monotonic() - since > _STILL_S:
            log.warning("the build has stood still for %.0f s and is ended", _STILL_S)
            child.kill()
            return


def _ticks(pid: int) -> int | None:
    """Processor time of a process in clock ticks; None where it cannot be told."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])
    except (OSError, ValueError, IndexError):
        return None


def _death(status: int, tail: list[str], settings: BuildSettings, oom_kills: int) -> str:
    """Why a build ended without a result.

    Args:
        oom_kills: how many processes the kernel killed for want of memory meanwhile.
    """
    text = "\n".join(tail)
    if status == -signal.SIGKILL or any(word in text for word in _NO_MEMORY):
        if oom_kills or status != -signal.SIGKILL:
            what = "the build ran out of memory and was ended"
        else:
            what = "the build was killed, most likely because memory ran out"
        return (
            f"{what}{_free_memory()}; stop the desktop (sudo init 3), lower --workspace-mb (now "
            f"{settings.workspace_mb}) or --optimization-level (now "
            f"{settings.optimization_level}), or add swap"
        )
    how = f"by signal {-status}" if status < 0 else f"with status {status}"
    said = f": {tail[-1][:300]}" if tail else ""
    return f"the build ended {how} without a result{said} (--debug shows all of its output)"


def _oom_kills() -> int:
    """Kills for want of memory that the kernel counted so far, here and in this container."""
    count = 0
    for path in _OOM_COUNTERS:
        try:
            count += int(dict(line.split() for line in path.read_text().splitlines())["oom_kill"])
        except (OSError, ValueError, KeyError):
            continue
    return count


def _free_memory() -> str:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return f" ({int(line.split()[1]) // 1024} MB are free now)"
    except (OSError, ValueError, IndexError):
        pass
    return ""


def main(folder: Path) -> int:
    """The child: read the order, build, write the result."""
    order = json.loads((folder / "order.json").read_text())

    def tell(phase: str, done: int, total: int) -> None:
        sys.stdout.write(_MARK + json.dumps([phase, done, total]) + "\n")
        sys.stdout.flush()

    try:
        plan = build_plan(
            load_bindings(order["backend"]),
            (folder / "model.onnx").read_bytes(),
            BuildSettings.from_dict(order["settings"]),
            tell,
        )
    except EdgeSerError as error:
        (folder / "result.json").write_text(json.dumps({"error": str(error)}))
        return _FAILED
    (folder / "engine").write_bytes(plan.content)
    result = {
        "tensors": [vars(tensor) for tensor in plan.tensors],
        "layers": plan.layers,
        "warnings": plan.warnings,
    }
    (folder / "result.json").write_text(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
