"""Everything that can be wrong with an engine file, told before it is loaded, never used."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_ser.engines import EngineCache, Host, Sidecar, check_engine, read_sidecar, sidecar_path
from edge_ser.engines.cache import store_engine
from edge_ser.engines.host import has_int8, l4t_release
from edge_ser.errors import BackendError, InputError
from edge_ser.pack import Pack
from edge_ser.runtime.backends.trt import TrtEngine

from . import cuda_double
from .engine_files import KIOSK, ORIN, plan_of, sidecar_of

VERSION = "10.3.0"


def check(engine: Path, pack: Pack, host: Host = ORIN, **changes: Any) -> bytes:
    values = {"backend": "tensorrt", "version": VERSION, **changes}
    return check_engine(engine, values["backend"], values["version"], host, pack)


def test_a_whole_engine_passes(stored: Path, pack: Pack) -> None:
    assert check(stored, pack) == stored.read_bytes()


def rewrite(stored: Path, pack: Pack, content: bytes | None = None, **changes: Any) -> None:
    content = stored.read_bytes() if content is None else content
    store_engine(stored, content, sidecar_of(pack, content, **changes))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda e, p: e.write_bytes(e.read_bytes()[:-100]), "truncated or was replaced"),
        (lambda e, p: e.write_bytes(b""), "has 0 bytes"),
        (lambda e, p: e.write_bytes(bytes(len(e.read_bytes()))), "was changed"),
        (lambda e, p: e.unlink(), "cannot be read"),
        (lambda e, p: sidecar_path(e).unlink(), "has no sidecar"),
        (lambda e, p: sidecar_path(e).write_text("{"), "not valid JSON"),
        (lambda e, p: sidecar_path(e).write_text("[" * 90000), "not valid JSON"),
        (lambda e, p: sidecar_path(e).write_text("[]"), "no engine sidecar"),
        (lambda e, p: sidecar_path(e).write_text('{"format": 99}'), "reads up to 1"),
        (lambda e, p: sidecar_path(e).write_text('{"format": 1}'), "is unknown or missing"),
        (lambda e, p: rewrite(e, p, backend="tensorrt-rtx"), "was built with tensorrt-rtx"),
        (lambda e, p: rewrite(e, p, version="8.6.2"), "built with tensorrt 8.6.2, here is 10.3.0"),
        (lambda e, p: rewrite(e, p, compute_capabilities=("7.2",)), "compute capability 7.2"),
        (lambda e, p: rewrite(e, p, gpu="Orin Nano"), "built on GPU Orin Nano"),
        (lambda e, p: rewrite(e, p, l4t="36.3"), "built on L4T 36.3"),
        (lambda e, p: rewrite(e, p, onnx_sha256="1" * 64), "from another model"),
        (lambda e, p: rewrite(e, p, target="gone"), "from another model"),
        (lambda e, p: rewrite(e, p, plan_of(b"x", "tensorrt-rtx")), "of the other TensorRT"),
        (lambda e, p: rewrite(e, p, engine_bytes="12"), "wrong type"),
    ],
)
def test_each_fault_has_one_clear_message(
    stored: Path, pack: Pack, fault: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(stored, pack)
    with pytest.raises(BackendError, match=message) as caught:
        check(stored, pack)
    assert "\n" not in str(caught.value)
    gpu = cuda_double.install(monkeypatch, ORIN, "tensorrt", VERSION)
    with pytest.raises(BackendError):
        TrtEngine.load(pack, "tensorrt", engine=stored)
    assert "deserialize" not in gpu.calls


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(Sidecar)])
def test_no_value_of_a_sidecar_is_taken_on_trust(stored: Path, pack: Pack, key: str) -> None:
    """Whatever stands there, the search of the cache ends with an engine or a reason."""
    path = sidecar_path(stored)
    right = json.loads(path.read_text())
    for value in (None, 5, -1, "x", "", [], [1], {}, {"a": 1}, 1.5):
        path.write_text(json.dumps({**right, key: value}))
        cache = EngineCache(stored.parent)
        cache.whole(stored, pack)
        with contextlib.suppress(BackendError):
            cache.find(pack, "tensorrt", VERSION, ORIN)


def rtx(pack: Pack, engine: Path, content: bytes) -> None:
    facts = {"gpu": None, "l4t": None, "compute_capabilities": ("8.6",), "version": "1.7"}
    store_engine(engine, content, sidecar_of(pack, content, backend="tensorrt-rtx", **facts))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (plan_of(b"y" * 500, "tensorrt-rtx")[:-7], "is incomplete: 557 bytes, its header says 564"),
        (b"garbage" * 100, "is no TensorRT-RTX engine"),
        (b"vtrt", "is no TensorRT-RTX engine"),
        (b"ftrt" + bytes(500), "of the other TensorRT product"),
    ],
)
def test_rtx_plans_are_looked_at(pack: Pack, tmp_path: Path, content: bytes, message: str) -> None:
    engine = tmp_path / "tiny-a.engine"
    rtx(pack, engine, content)
    with pytest.raises(BackendError, match=message):
        check(engine, pack, KIOSK, backend="tensorrt-rtx", version="1.7")


def test_no_gpu(stored: Path, pack: Pack) -> None:
    with pytest.raises(BackendError, match="cannot run engines here: no driver"):
        check(stored, pack, Host(problem="no driver"))


def test_tensorrt_that_refuses_is_told_why(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sidecar is right, but the engine is not what TensorRT can read."""
    engine = tmp_path / "tiny-a.engine"
    content = plan_of(b"not a plan at all")
    store_engine(engine, content, sidecar_of(pack, content))
    cuda_double.install(monkeypatch, ORIN, "tensorrt", VERSION)
    with pytest.raises(BackendError, match="was built with another TensorRT; build it again"):
        TrtEngine.load(pack, "tensorrt", engine=engine)


def test_the_cache_gives_the_chosen_one_else_the_newest(pack: Pack, tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)

    def put(name: str, **changes: Any) -> Path:
        engine = tmp_path / f"tiny-{name}.engine"
        content = plan_of(name.encode())
        store_engine(engine, content, sidecar_of(pack, content, **changes))
        return engine

    def find(precision: str = "auto") -> Path:
        return cache.find(pack, "tensorrt", VERSION, ORIN, precision)

    with pytest.raises(BackendError, match="build one first: edge-ser build"):
        find()
    put("stale", version="8.6.2")
    with pytest.raises(BackendError, match=r"8\.6\.2, here is 10\.3\.0"):
        find()
    old = put("old", built_at="2026-01-01T00:00:00.000+00:00")
    assert find() == old
    new = put("new", built_at="2026-02-01T00:00:00.000+00:00", precision="fp16")
    assert find() == new
    assert find("int8") == old
    chosen = put("chosen", built_at="2025-01-01T00:00:00.000+00:00", automatic=True)
    assert find() == chosen


def write_until(engine: Path, content: bytes, sidecar: Any, point: int, in_bytes: bool) -> bool:
    """Store an engine in a process that dies at ``point``; whether it did.

    Args:
        point: bytes after which the kernel ends the process in the midst of a write, or Python
            calls after which it is killed.
    """
    child = os.fork()
    if child == 0:
        if in_bytes:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (point, point))
        else:
            calls = iter(range(point))
            sys.setprofile(
                lambda *event: next(calls, None) is None and os.kill(os.getpid(), signal.SIGKILL)
            )
        store_engine(engine, content, sidecar)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def calls_of(work: Callable[[], None]) -> int:
    """How many calls and returns Python makes in ``work``."""
    n_calls = 0

    def count(*event: Any) -> None:
        nonlocal n_calls
        n_calls += 1

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return n_calls


def test_200_kills_in_mid_write_leave_no_broken_engine_in_use(
    stored: Path, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each the engine is the old one, the new one or refused, and a build repairs it."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # is for power cuts, not for kills
    rng = np.random.default_rng(1)
    cache = EngineCache(stored.parent)
    found = {"old": 0, "new": 0, "refused": 0}
    reasons: set[str] = set()
    kills = 0
    old = stored.read_bytes()
    n_calls = calls_of(lambda: store_engine(stored, old, sidecar_of(pack, old)))
    while kills < 200:
        new = plan_of(rng.bytes(40_000))
        in_bytes = bool(rng.random() < 0.5)
        point = int(rng.integers(0, 40_100 if in_bytes else n_calls))
        killed = write_until(stored, new, sidecar_of(pack, new), point, in_bytes)
        kills += killed
        try:
            content = check(stored, pack)
        except BackendError as error:
            reasons.add(str(error).split(" (")[0])
            assert cache.whole(stored, pack) is None  # so that the next build builds
            found["refused"] += 1
        else:
            assert content == new or (killed and content == old)
            found["old" if content == old else "new"] += killed
        with cache.locked(stored):
            store_engine(stored, new, sidecar_of(pack, new))
        assert check(stored, pack) == new
        old = new
    assert reasons == {f"engine {stored} was changed"}
    assert sum(found.values()) == 200
    assert found["old"] > 20, found
    assert found["refused"] > 20, found  # between the engine and its sidecar
    # What the killed ones left half-written is gone, too.
    assert [p.name for p in stored.parent.iterdir() if p.name.startswith(".")] == []


def _note(log: str, word: str) -> None:
    with Path(log).open("a") as file:
        file.write(f"{word}\n")


def _build_slowly(folder: str, log: str) -> None:
    cache = EngineCache(Path(folder))
    engine = Path(folder) / "x.engine"
    with cache.locked(engine):
        if engine.exists():
            _note(log, "found")
            return
        time.sleep(0.3)
        engine.write_bytes(b"built")
        _note(log, "built")


def test_of_two_builders_at_once_one_builds(tmp_path: Path) -> None:
    log = tmp_path / "log"
    context = multiprocessing.get_context("fork")
    builders = [
        context.Process(target=_build_slowly, args=(str(tmp_path), str(log))) for _ in range(3)
    ]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert sorted(log.read_text().split()) == ["built", "found", "found"]


def test_a_builder_that_waits_too_long_says_for_whom(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    engine = tmp_path / "x.engine"
    with cache.locked(engine):
        script = (
            "from pathlib import Path; from edge_ser.engines import EngineCache; import sys\n"
            f"p = Path({str(tmp_path)!r})\n"
            "try:\n"
            "    EngineCache(p).locked(p / 'x.engine', timeout_s=0.1).__enter__()\n"
            "except Exception as error: print(error)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "another process has been building x.engine" in done.stdout


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    cache = EngineCache(file / "engines")
    with (
        pytest.raises(InputError, match="cannot be written to"),
        cache.locked(file / "engines" / "x.engine"),
    ):
        pass


def test_sidecars_survive_the_way_to_disk(stored: Path, pack: Pack) -> None:
    assert read_sidecar(stored) == sidecar_of(pack, stored.read_bytes())


def test_jetson_releases_and_int8(tmp_path: Path) -> None:
    release = tmp_path / "nv_tegra_release"
    release.write_text("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n")
    assert l4t_release(release) == "36.4.3"
    assert l4t_release(tmp_path / "none") is None
    assert [has_int8(c) for c in ("5.3", "6.1", "6.2", "7.2", "8.7", "11.0")] == [
        False, True, False, True, True, True,
    ]  # fmt: skip
