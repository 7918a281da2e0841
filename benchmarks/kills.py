"""Kill installations, switches and engine builds at random moments; does the service start?

``python -m benchmarks.kills --moments 200``. Every moment: an operation in a process group of its
own, ``SIGKILL`` to the whole group at a random time before it would have ended, then what systemd
does (:mod:`benchmarks.kill_start`). A killed engine build is run again, and must end with a whole
engine. With ``--bundle FILE.tar`` (of ``edge-ser bundle``) ``install.sh`` is killed, too, and the
service is the one that it installed. ``kill -9`` stands in for a power cut as far as a process can
see; what a power cut does to writes that were not synced is in tests/store/test_power.py.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

from benchmarks.kill_start import Board, kill, start
from edge_ser.engines import EngineCache
from edge_ser.errors import InputError
from edge_ser.pack import bundled_packs, open_pack, write_pack
from edge_ser.store.store import PackStore

__all__ = ["Kills", "kills"]

_PACKS, _ENGINES = "EDGE_SER_PACKS", "EDGE_SER_ENGINES"


@dataclass
class Kills:
    """What came out.

    Attributes:
        moments: kills of a running operation, by operation.
        too_late: that came after the operation had ended by itself, and do not count.
        seconds: how long each operation takes when nobody kills it.
        found: packs that the service came up with, and how often.
        failures: what went wrong, if anything.
    """

    moments: dict[str, int] = field(default_factory=dict)
    too_late: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Operation:
    """What is killed: ``begin`` starts it, ``mended`` says afterwards what is wrong."""

    weight: int
    board: Board
    begin: Callable[[], subprocess.Popen[bytes]]
    mended: Callable[[], str | None] = lambda: None


def kills(
    moments: int, seed: int, *, build: bool, bundle: Path | None, tell: Callable[[str], None]
) -> Kills:
    """Kill ``moments`` times.

    Args:
        build: whether engine builds (TensorRT for RTX, no GPU needed) are among the operations.
        bundle: tar whose ``install.sh`` is killed as well.

    Raises:
        InputError: an operation fails without being killed.
    """
    draw, result = random.Random(seed), Kills()
    with tempfile.TemporaryDirectory() as temporary:
        operations = _operations(Path(temporary), draw, build=build, bundle=bundle)
        for name, operation in operations.items():  # once to its end: how long does it take?
            begin = time.monotonic()
            if status := operation.begin().wait():
                raise InputError(f"{name} ends with {status} without being killed")
            result.seconds[name] = round(time.monotonic() - begin, 2)
        tell(f"seconds that they take: {result.seconds}")
        names = list(operations)
        weights = [operations[name].weight for name in names]
        while sum(result.moments.values()) < moments:
            name = draw.choices(names, weights)[0]
            operation = operations[name]
            process = operation.begin()
            at = draw.uniform(0.0, result.seconds[name])
            hit = False
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(at)
                hit = True
            kill(process)
            if hit:
                result.too_late += 1
            else:
                result.moments[name] = result.moments.get(name, 0) + 1
            came_up, problem = operation.board.service()
            if came_up is not None:
                result.found[came_up] = result.found.get(came_up, 0) + 1
            problem = problem or operation.mended()
            done = sum(result.moments.values())
            if problem is not None:
                result.failures.append(f"moment {done}, {name} after {at:.3f} s: {problem}")
            if not hit and done % 10 == 0:
                tell(f"{done} of {moments}, {len(result.failures)} failures")
    return result


def _operations(
    root: Path, draw: random.Random, *, build: bool, bundle: Path | None
) -> dict[str, _Operation]:
    packs = [_pack(root, version) for version in ("91.0.0", "92.0.0")]
    environment = os.environ | {_PACKS: str(root / "packs"), _ENGINES: str(root / "engines")}
    store = PackStore(root / "packs")
    board = Board([sys.executable, "-m", "edge_ser"], environment, store, root)

    def install() -> subprocess.Popen[bytes]:
        if draw.random() < 0.5:  # the next installation must have something to copy now and then
            _forget(store)
        pack = draw.choice(packs)
        return board.begin(["pack", "install", str(pack), "--allow-older", "--max-step-ms", "1e9"])

    def use() -> subprocess.Popen[bytes]:
        known = [item.name for item in store.installed()]
        return board.begin(["pack", "use", draw.choice([*known, "bundled"])])

    # Rollbacks are over in no time; most moments go to what takes long.
    found = {
        "install": _Operation(6, board, install),
        "use": _Operation(3, board, use),
        "rollback": _Operation(1, board, lambda: board.begin(["pack", "rollback"])),
    }
    if build:
        words = ["build", "--backend", "tensorrt-rtx", "--compute-capability", "8.6", "--precision"]
        chosen = ["fp16"]

        def begin() -> subprocess.Popen[bytes]:
            chosen[0] = draw.choice(["fp32", "fp16"])
            return board.begin([*words, chosen[0], "--force"])

        found["build"] = _Operation(
            3, board, begin, lambda: _whole_engine(board, [*words, chosen[0]])
        )
    if bundle is not None:
        found["install.sh"] = _installer(root / "opt", bundle, draw)
    return found


def _whole_engine(board: Board, words: list[str]) -> str | None:
    """What is wrong with the engine after the same build again, which must not be killed."""
    done = board.run(*words, "--json")
    if done.returncode:
        return f"the next build fails: {done.stderr.strip()}"
    engine = Path(json.loads(done.stdout)["engine"])
    active = board.store.selection.active
    pack = open_pack(board.store.folder / active if active else None)
    if EngineCache(engine.parent).whole(engine, pack) is None:
        return f"{engine.name} is not whole after the next build"
    left = [p.name for p in engine.parent.glob(".*.engine.*") if not p.name.endswith(".lock")]
    return f"{left[0]} was left behind" if left else None


def _installer(root: Path, bundle: Path, draw: random.Random) -> _Operation:
    """Updates between two bundles of the same content, installed below ``root``."""
    prefix, scripts = root / "edge-ser", []
    for number in (0, 1):
        with tarfile.open(bundle) as archive:
            archive.extractall(root / str(number), filter="data")
        (folder,) = (root / str(number)).iterdir()
        # The same sums in another order: a release of another name.
        sums = folder / "SHA256SUMS"
        lines = sorted(sums.read_text().splitlines(keepends=True), reverse=bool(number))
        sums.write_text("".join(lines))
        scripts.append(folder / "install.sh")
    # As a flashed board has it: nothing of the Python that runs this.
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    words = ["--prefix", str(prefix), "--no-service"]
    done = subprocess.run(
        [scripts[0], *words], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise InputError(f"{bundle}: {done.stderr.strip()[-300:]}")
    board = Board(
        [str(prefix / "bin" / "edge-ser")], environment, PackStore(prefix / "packs"), root
    )

    def begin() -> subprocess.Popen[bytes]:
        now = (prefix / "current").resolve()
        for release in (prefix / "releases").iterdir():  # so that there is work to do again
            if release != now:
                shutil.rmtree(release)
        digests = [subprocess.check_output(["sha256sum", s.parent / "SHA256SUMS"]) for s in scripts]
        other = next(i for i, it in enumerate(digests) if it[:12].decode() not in now.name)
        if draw.random() < 0.5:
            _forget(board.store)
        return start([str(scripts[other]), *words], environment)

    return _Operation(2, board, begin)


def _pack(root: Path, version: str) -> Path:
    pack = open_pack(bundled_packs()[0])
    files = {name: pack.read(name) for name in pack.manifest.files}
    out = root / f"{version}.tar"
    write_pack(replace(pack.manifest, version=version), files, out)
    return out


def _forget(store: PackStore) -> None:
    selection = store.selection
    for item in store.installed():
        if item.name not in (selection.active, selection.previous):
            store.remove(item.name)


def main() -> int:
    """Kill, and say how it went; 3 if the service ever did not start with a whole pack."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--moments", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundle", type=Path, metavar="TAR", help="kill its install.sh as well")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    build = find_spec("tensorrt_rtx") is not None and find_spec("onnx") is not None
    if not build:
        print("no TensorRT for RTX here: engine builds are left out", file=sys.stderr)
    try:
        result = kills(
            options.moments, options.seed, build=build, bundle=options.bundle,
            tell=lambda line: print(line, file=sys.stderr, flush=True),
        )  # fmt: skip
    except InputError as error:
        print(f"kills: {error}", file=sys.stderr)
        return error.exit_status
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
