"""A pack tried in a process of its own before it is put to use.

A model may crash the engine, or take all memory or for ever; then the trial ends so and not the
process that installs. Run as ``python -m edge_ser.runtime.trial FOLDER BACKEND``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from edge_ser.errors import EdgeSerError, GateMissed, PackError
from edge_ser.pack import open_pack
from edge_ser.runtime.child import last_line, module_command
from edge_ser.runtime.golden import LEAST_AGREEMENT, WORST_SCORE, Golden, golden_runs

__all__ = ["try_pack"]

_LONGEST_S = 300.0


def try_pack(
    folder: Path, backend: str = "auto", *, max_step_ms: float | None = None
) -> list[Golden]:
    """Golden vectors and latency of the pack in ``folder`` on this machine.

    Args:
        backend: that the service will use.
        max_step_ms: highest median of a step of the model; half a step if None, for the front
            end, the gate and other work need the rest. The median, for what else the board does
            in this moment is not the fault of the pack.

    Returns:
        one result per model that the backend may run.

    Raises:
        GateMissed: the scores are not the recorded ones, or a step takes too long.
        PackError: the pack is made for other engines than this machine has, has no golden
            vectors, or fails in the engine or ends it.
    """
    manifest = open_pack(folder).manifest
    wanted = "onnxruntime" if backend == "auto" else backend
    made_for = sorted({name for t in manifest.targets.values() for name in t.backends})
    if wanted not in made_for:
        raise PackError(
            f"pack {manifest.name} is made for {', '.join(made_for)}; {wanted} is what runs here. "
            "Get the pack for this hardware, or choose with --backend"
        )
    runs = _in_a_process(folder, manifest.name, backend)
    limit = manifest.frontend.step_ms / 2 if max_step_ms is None else max_step_ms
    for run in runs:
        if not run.agrees:
            raise GateMissed(
                f"pack {manifest.name} does not compute right here: {run.target} in {run.backend} "
                f"has the golden label in {run.agreement:.1%} of {run.steps} steps (at least "
                f"{LEAST_AGREEMENT:.0%}) and scores off by {run.worst:.4f} (at most "
                f"{WORST_SCORE}); it was not put to use"
            )
    if runs[0].p50_ms > limit:
        raise GateMissed(
            f"pack {manifest.name} is too slow here: a step of the model takes "
            f"{runs[0].p50_ms:.1f} ms (median), at most {limit:g} ms are allowed; it was not put "
            "to use"
        )
    return runs


def _in_a_process(folder: Path, name: str, backend: str) -> list[Golden]:
    try:
        done = subprocess.run(
            module_command("edge_ser.runtime.trial", str(folder), backend),
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PackError(
            f"pack {name}: its trial did not end within {_LONGEST_S:.0f} s; it was not put to use"
        ) from None
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"]
        if done.returncode < 0:
            words = [f"the engine was ended by signal {-done.returncode}"]
        raise PackError(f"pack {name} failed its trial: {words[-1]}")
    rows = json.loads(last_line(done.stdout))
    return [Golden(**{k: v for k, v in row.items() if k != "agrees"}) for row in rows]


def _main(folder: str, backend: str) -> int:
    try:
        runs = golden_runs(open_pack(Path(folder)), backend)
    except EdgeSerError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    sys.stdout.write(json.dumps([run.to_dict() for run in runs]))
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
