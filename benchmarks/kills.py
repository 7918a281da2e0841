"""Kill installations, switches and engine builds at random moments; does the service start?

``python -m benchmarks.kills --moments 200``. Every moment: an operation in a process group of its
own, ``SIGKILL`` to the whole group at a random time, then what systemd does (``pack attempt``, the
real service until it says ``READY=1``), then every file of the pack in use against its hash.
``kill -9`` stands in for a power cut as far as a process can see; that names and content are on the
disk in time is tested by the order of ``fsync`` in tests/store.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edge_ser.engines import EngineCache
from edge_ser.engines.sidecar import sidecar_path
from edge_ser.pack import bundled_packs, open_pack, write_pack
from edge_ser.store.store import PackStore

__all__ = ["Kills", "kills"]

_START_S = 120.0


@dataclass
class Kills:
    """What came out.

    Attributes:
        moments: kills by operation.
        too_late: of them, after the operation had ended by itself.
        found: packs that the service came up with, and how often.
        failures: what went wrong, if anything.
    """

    moments: dict[str, int] = field(default_factory=dict)
    too_late: int = 0
    found: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def kills(moments: int, seed: int, *, build: bool, tell: Callable[[str], None]) -> Kills:
    """Kill ``moments`` times.

    Args:
        build: whether engine builds (TensorRT for RTX, no GPU needed) are among the operations.
    """
    draw, result = random.Random(seed), Kills()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        packs = [_pack(root, version) for version in ("91.0.0", "92.0.0")]
        environment = os.environ | {
            "EDGE_SER_PACKS": str(root / "packs"),
            "EDGE_SER_ENGINES": str(root / "engines"),
        }
        store = PackStore(root / "packs")
        operations = {
            "install": lambda: ["pack", "install", str(draw.choice(packs)), "--allow-older"],
            "use": lambda: ["pack", "use", draw.choice(["edge-six@91.0.0", "bundled"])],
            "rollback": lambda: ["pack", "rollback"],
        }
        if build:
            operations["build"] = lambda: [
                "build", "--backend", "tensorrt-rtx", "--compute-capability", "8.6",
                "--precision", draw.choice(["mixed", "fp16"]), "--force",
            ]  # fmt: skip
        names = list(operations)
        # Rollbacks are over in no time; most moments go to what takes long.
        weights = [5, 3, 1, 2][: len(names)]
        lasts = dict.fromkeys(names, 3.0)
        for moment in range(moments):
            name = draw.choices(names, weights)[0]
            begin = time.monotonic()
            # The next installation must have something to do now and then.
            if name == "install" and draw.random() < 0.5:
                _forget(store, draw)
            process = _start(operations[name](), environment)
            at = draw.uniform(0.0, lasts[name])
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(at)
                result.too_late += 1
                lasts[name] = 0.9 * lasts[name] + 0.1 * 1.2 * (time.monotonic() - begin)
            _kill(process)
            result.moments[name] = result.moments.get(name, 0) + 1
            problem = _service(environment, store, root, result)
            if problem is not None:
                result.failures.append(f"moment {moment}, {name} after {at:.3f} s: {problem}")
            if (moment + 1) % 10 == 0:
                tell(f"{moment + 1} of {moments}, {len(result.failures)} failures")
    return result


def _pack(root: Path, version: str) -> Path:
    pack = open_pack(bundled_packs()[0])
    files = {name: pack.read(name) for name in pack.manifest.files}
    out = root / f"{version}.tar"
    write_pack(replace(pack.manifest, version=version), files, out)
    return out


def _forget(store: PackStore, draw: random.Random) -> None:
    selection = store.selection
    for item in store.installed():
        if item.name not in (selection.active, selection.previous):
            store.remove(item.name)


def _start(words: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "edge_ser", *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _pack_verb(verb: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_ser", "pack", verb],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def _service(
    environment: dict[str, str], store: PackStore, root: Path, result: Kills
) -> str | None:
    """Start the service as systemd does; what is wrong, or None."""
    done = _pack_verb("attempt", environment)
    if done.returncode:
        return f"pack attempt: {done.stderr.strip()}"
    with _notified(root / "notify") as (address, wait):
        process = subprocess.Popen(
            [sys.executable, "-m", "edge_ser", "serve", "--input", "none", "--port", "0"],
            env=environment | {"NOTIFY_SOCKET": address},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        said = wait(process)
        _kill(process)
    if said is None:
        return (
            f"the service did not come up: {(process.stderr.read() if process.stderr else b'')!r}"
        )
    confirmed = _pack_verb("confirm", environment)
    if confirmed.returncode:
        return f"pack confirm: {confirmed.stderr.strip()}"
    selection = store.selection
    if done.stderr:  # it went back, which a start with a whole pack never needs
        return done.stderr.strip()
    pack = open_pack(store.folder / selection.active if selection.active else bundled_packs()[0])
    pack.verify()
    name = pack.manifest.name
    result.found[name] = result.found.get(name, 0) + 1
    if name not in said:
        return f"the service says {said!r}, in use is {name}"
    cache = EngineCache(root / "engines")
    for engine in cache.folder.glob("*.engine"):
        # A sidecar beside an engine that is not its own keeps everybody from loading it.
        if sidecar_path(engine).exists() and cache.whole(engine, open_pack("edge-six")) is None:
            digest = json.loads(sidecar_path(engine).read_bytes())["engine_sha256"]
            tell = f"{engine.name} is not what its sidecar says ({digest[:8]}); it is refused"
            sys.stderr.write(tell + "\n")
    return None


@contextlib.contextmanager
def _notified(path: Path) -> Iterator[tuple[str, Callable[[Any], str | None]]]:
    """A socket like systemd's, and a wait for ``READY=1`` on it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.bind(str(path))
        wire.settimeout(0.2)

        def wait(process: subprocess.Popen[bytes]) -> str | None:
            until = time.monotonic() + _START_S
            while time.monotonic() < until:
                try:
                    said = wire.recv(4096).decode()
                except TimeoutError:
                    if process.poll() is not None:
                        return None
                    continue
                if "READY=1" in said:
                    return said
            return None

        try:
            yield str(path), wait
        finally:
            path.unlink()


def main() -> int:
    """Kill, and say how it went; 3 if the service ever did not start with a whole pack."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--moments", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    build = find_spec("tensorrt_rtx") is not None and find_spec("onnx") is not None
    if not build:
        print("no TensorRT for RTX here: engine builds are left out", file=sys.stderr)
    result = kills(
        options.moments, options.seed, build=build, tell=lambda line: print(line, file=sys.stderr)
    )
    if options.json:
        print(json.dumps(vars(result), indent=1))
    else:
        told = ", ".join(f"{n} {name}" for name, n in result.moments.items())
        print(f"killed {sum(result.moments.values())} times ({told}), {result.too_late} too late")
        print(f"the service came up with {result.found}; failures: {len(result.failures)}")
        for failure in result.failures:
            print(f"  {failure}")
    return 3 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
