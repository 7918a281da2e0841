"""Real builds that end otherwise than planned: killed, out of memory, two at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_ser.engines import EngineCache
from edge_ser.errors import BackendError
from edge_ser.pack import Pack

pytest.importorskip(
    "tensorrt_rtx", reason="NO ENGINE WAS BUILT: pip install 'edge-ser[rtx]' (x86-64 Linux)"
)
psutil = pytest.importorskip("psutil", reason="the builder's process is found with psutil")
pytestmark = pytest.mark.slow


def build(pack: Pack, progress: object = None) -> bytes:
    from edge_ser.converters.engine.job import build_apart
    from edge_ser.converters.engine.settings import BuildSettings

    settings = BuildSettings(("8.6",), int8=True, half=False)
    tell = progress or (lambda *step: None)
    return build_apart("tensorrt-rtx", pack.read("tensorrt.onnx"), settings, tell).content  # type: ignore[arg-type]


def run_child_through(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``script`` prepare the process that builds and then become it."""
    python = folder / "python"
    python.write_text(f'#!/bin/sh\n{script}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))


def test_a_killed_builder_is_told_as_such(pack: Pack) -> None:
    seen = []

    def kill(phase: str, done: int, total: int) -> None:
        seen.append(phase)
        for child in psutil.Process().children():
            child.kill()

    with pytest.raises(BackendError, match="the build was killed, most likely because memory"):
        build(pack, kill)
    assert seen  # it was at work when it was killed


def test_a_builder_that_gets_no_more_memory_says_so(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_ser.converters.engine import job

    # TensorRT says so, or waits for ever for a thread that died of it.
    monkeypatch.setattr(job, "_STILL_S", 10.0)
    run_child_through("ulimit -v 614400", tmp_path, monkeypatch)
    with pytest.raises(BackendError, match="memory ran out|ran out of memory"):
        build(pack)


def test_a_builder_that_hangs_is_ended(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_ser.converters.engine import job

    monkeypatch.setattr(job, "_STILL_S", 1.0)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(BackendError, match="the build was killed"):
        build(pack)


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group of 60 MB; the kernel kills what needs more."""
    v1, v2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    group = (v1 if v1.is_dir() else v2) / f"edge-ser-test-{os.getpid()}"
    try:
        group.mkdir()
        limit = group / ("memory.limit_in_bytes" if v1.is_dir() else "memory.max")
        limit.write_text(str(60 << 20))
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        pytest.skip(f"NO KILL BY THE KERNEL WAS TRIED: no control group can be made ({error})")
    yield group
    group.rmdir()


def test_the_kernels_out_of_memory_kill_is_told_apart(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_group: Path
) -> None:
    run_child_through(f"echo $$ > {small_group}/cgroup.procs", tmp_path, monkeypatch)
    with pytest.raises(BackendError, match="the build ran out of memory and was ended") as caught:
        build(pack)
    assert "lower --workspace-mb (now 256)" in str(caught.value)


def test_of_two_real_builders_at_once_one_builds(pack: Pack, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edge_ser", "build", str(pack.path), "--json",
               "--backend", "tensorrt-rtx", "--compute-capability", "8.6", "--precision", "mixed",
               "--cache", str(tmp_path)]  # fmt: skip
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [builder.communicate(timeout=300) for builder in both]
    assert [builder.returncode for builder in both] == [0, 0], said
    reports = [json.loads(out) for out, _ in said]
    assert sorted(report["cached"] for report in reports) == [False, True]
    assert reports[0]["engine"] == reports[1]["engine"]
    engine = Path(reports[0]["engine"])
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")) == [
        engine.name,
        f"{engine.name}.json",
    ]
    sidecar = EngineCache(tmp_path).whole(engine, pack)
    assert sidecar is not None
    assert json.loads(sidecar.to_json()) == reports[0]["sidecar"]
