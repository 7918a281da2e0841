"""From the tar to a running service, with no network, and back to nothing."""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_ser.bundle.size import measure

pytestmark = pytest.mark.slow
PLAIN = {key: value for key, value in os.environ.items() if not key.startswith("EDGE_SER_")}
LIMIT_MB = 130


@pytest.fixture(scope="module")
def installed(bundle: Path, cut_off: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix with everything in it; not to be changed."""
    prefix = tmp_path_factory.mktemp("opt") / "edge-ser"
    units = tmp_path_factory.mktemp("units")
    done = subprocess.run(
        [*cut_off, bundle / "install.sh", "--prefix", prefix,
         "--python", sys._base_executable],  # type: ignore[attr-defined]
        capture_output=True, text=True, env=PLAIN | {"EDGE_SER_UNITS": str(units)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return prefix


def tree(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.lstat().st_size
        for path in sorted(folder.rglob("*"))
        if path.name != ".install-lock"
    }


def test_it_runs_without_a_network(installed: Path, cut_off: list[str]) -> None:
    program = installed / "bin" / "edge-ser"
    done = subprocess.run(
        [*cut_off, program, "run", "demo", "--jsonl"],
        capture_output=True,
        text=True,
        cwd="/",
        env=PLAIN,
    )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert sum(event["type"] == "emotion" for event in events) > 50
    listed = json.loads(subprocess.check_output([program, "pack", "list", "--json"], env=PLAIN))[
        "packs"
    ]
    (active,) = [row for row in listed if row["active"]]
    assert not active["bundled"]
    assert active["path"].startswith(str(installed / "packs"))
    done = subprocess.run(
        [*cut_off, program, "doctor", "--json"], capture_output=True, text=True, env=PLAIN
    )
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["golden vectors, onnxruntime"]["status"] == "ok"
    assert checks["pack"]["detail"].endswith(
        "every file whole; the service has not come up with it yet"
    )


def test_nothing_is_written_into_it_later(installed: Path, cut_off: list[str]) -> None:
    before = tree(installed / "releases")
    for words in (["run", "demo"], ["pack", "list"], ["doctor"], ["bench", "--seconds", "2"]):
        subprocess.run(
            [*cut_off, installed / "bin" / "edge-ser", *words],
            capture_output=True,
            check=False,
            env=PLAIN,
        )
    assert tree(installed / "releases") == before


def test_the_cpu_runtime_is_small(installed: Path) -> None:
    (site,) = (installed / "current" / "lib").glob("python3*/site-packages")
    sizes = measure(site)
    base = ("edge-ser", "numpy", "onnxruntime", "protobuf", "flatbuffers", "packaging")
    assert set(base) <= set(sizes)
    total = sum(sizes[name] for name in base) / 1e6
    assert total <= LIMIT_MB, {name: round(size / 1e6, 1) for name, size in sizes.items()}
    assert sum(sizes.values()) / 1e6 <= LIMIT_MB, "with the service, MQTT and signatures too"
    done = subprocess.run(
        [installed / "current/bin/python", "-m", "edge_ser.bundle.size", site, "--at-most", "1"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 3
    assert "onnxruntime" in done.stdout


def test_the_unit_is_sound(installed: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    unit = installed / "edge-ser.service"
    text = unit.read_text()
    assert not re.findall(r"@[A-Z]+@", text)
    assert "Type=notify" in text
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if "edge-ser.service" in line]
    assert complaints == []
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=40", unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]


def test_the_engine_is_built_before_the_start_where_there_is_one(
    bundle: Path, install, tmp_path: Path
) -> None:
    text = (bundle / "edge-ser.service.in").read_text()
    assert text.index("@BUILD@") < text.index("ExecStart=")


def test_again_and_away(own: Path, install, tmp_path: Path) -> None:
    prefix, units = tmp_path / "prefix", tmp_path / "units"
    units.mkdir()
    done = install(own / "install.sh", "--prefix", prefix)
    assert done.returncode == 0, done.stderr
    (prefix / "etc" / "edge-ser.env").write_text("EDGE_SER_SERVE=--port 1234\n")
    before = (prefix / "current").readlink()
    done = install(own / "install.sh", "--prefix", prefix)
    assert done.returncode == 0, done.stderr
    assert (prefix / "current").readlink() == before
    assert "1234" in (prefix / "etc" / "edge-ser.env").read_text(), "settings outlive an update"
    done = install(prefix / "install.sh", "--uninstall", "--prefix", prefix, python=False)
    assert done.returncode == 0, done.stderr
    assert not prefix.exists()
    assert list(units.iterdir()) == []
    done = install(own / "install.sh", "--uninstall", "--prefix", prefix, python=False)
    assert done.returncode == 2
    assert "nothing is installed" in done.stderr


def test_a_file_of_somebody_else_is_kept(own: Path, install, tmp_path: Path) -> None:
    prefix = tmp_path / "prefix"
    (prefix / "releases").mkdir(parents=True)
    (prefix / "mine.txt").write_text("mine")
    done = install(own / "install.sh", "--uninstall", "--prefix", prefix, python=False)
    assert done.returncode == 0
    assert [path.name for path in prefix.iterdir()] == ["mine.txt"]
    assert "kept: mine.txt" in done.stderr


def stub(folder: Path, name: str, script: str) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def refused(done: subprocess.CompletedProcess[str], prefix: Path, *words: str) -> None:
    assert done.returncode == 2, done.stderr
    for word in words:
        assert word in done.stderr
    assert not (prefix / "current").exists()
    assert not (prefix / "bin" / "edge-ser").exists()


def test_wrong_architecture(own: Path, install, tmp_path: Path) -> None:
    env = stub(tmp_path / "stubs", "uname", "echo riscv64")
    done = install(own / "install.sh", "--prefix", tmp_path / "p", env=env)
    refused(done, tmp_path / "p", "this machine is riscv64; get the bundle for it")
    assert not (tmp_path / "p").exists()


def test_wrong_python(own: Path, install, tmp_path: Path) -> None:
    stub(tmp_path / "stubs", "python3.8", "echo 3.8")
    old = tmp_path / "stubs" / "python3.8"
    done = install(own / "install.sh", "--prefix", tmp_path / "p", "--python", old, python=False)
    refused(done, tmp_path / "p", "is for Python 3.", f"found: {old} (3.8)", "--python")
    done = install(
        own / "install.sh", "--prefix", tmp_path / "p", "--python", "/no/python", python=False
    )
    refused(done, tmp_path / "p", "found: none")


@pytest.mark.parametrize("what", ["wheel", "pack", "unit"])
def test_tampered_with(own: Path, install, tmp_path: Path, what: str) -> None:
    path = {
        "wheel": next((own / "wheels").glob("edge_ser-*.whl")),
        "pack": next((own / "packs").iterdir()),
        "unit": own / "edge-ser.service.in",
    }[what]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()  # it is a link to the one that all tests share
    path.write_bytes(content)
    done = install(own / "install.sh", "--prefix", tmp_path / "p")
    refused(done, tmp_path / "p", f"{path.relative_to(own)}: FAILED", "nothing was installed")


def test_no_space(own: Path, install, tmp_path: Path) -> None:
    env = stub(tmp_path / "stubs", "df", 'printf "f 1 1 1 1 m\\nf 9 9 1024 9 m\\n"')
    done = install(own / "install.sh", "--prefix", tmp_path / "p", env=env)
    refused(done, tmp_path / "p", "has 1 MB free, up to", "make room")


def test_the_disk_fills_up_in_the_middle(bundle: Path, tmp_path: Path) -> None:
    """A real file system of 12 MB, and a df that promises more."""
    small = tmp_path / "small"
    small.mkdir()
    env = stub(tmp_path / "stubs", "df", 'printf "f 1 1 1 1 m\\nf 9 9 99999999 9 m\\n"')
    mount = (
        f'mount -t tmpfs -o size=12m none "{small}" || exit 77; "$@"; echo "$?"; du -sk "{small}"'
    )
    done = subprocess.run(
        ["unshare", "-rnm", "sh", "-c", mount, "sh", bundle / "install.sh", "--prefix", small / "p",
         "--no-service", "--python", sys._base_executable],  # type: ignore[attr-defined]
        capture_output=True, text=True, check=False, env=env,
    )  # fmt: skip
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"needs to mount a small file system: {done.stderr.strip()}")
    status, left = done.stdout.split()[:2]
    assert status == "2", done.stderr
    assert done.stderr.endswith("(see above); nothing was changed\n"), done.stderr
    assert int(left) == 0, "what was half installed is gone"


def test_read_only_target(own: Path, install, tmp_path: Path) -> None:
    done = install(own / "install.sh", "--prefix", "/proc/edge-ser")
    refused(done, Path("/proc/edge-ser"), "/proc/edge-ser cannot be made", "sudo")


def test_two_at_once(own: Path, install, tmp_path: Path) -> None:
    prefix = tmp_path / "p"
    prefix.mkdir()
    with (prefix / ".install-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = install(own / "install.sh", "--prefix", prefix)
    refused(done, prefix, "another installation is running")


@pytest.mark.parametrize(
    "words", [["--prefix"], ["--frobnicate"], ["--prefix", "/"], ["--prefix", "a b"]]
)
def test_odd_options(own: Path, install, words: list[str], tmp_path: Path) -> None:
    done = install(own / "install.sh", *words, python=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("edge-ser: ")


def test_a_kill_leaves_the_release_before(own: Path, install, cut_off, tmp_path: Path) -> None:
    """An update that is killed at three moments; the old release runs after each."""
    prefix = tmp_path / "prefix"
    assert install(own / "install.sh", "--prefix", prefix, "--no-service").returncode == 0
    before = (prefix / "current").readlink()
    # Another bundle: the same wheels, other settings, so another name of its release.
    sums = own / "SHA256SUMS"
    text = sums.read_text()
    sums.unlink()
    sums.write_text("".join(sorted(text.splitlines(keepends=True), reverse=True)))
    draw = random.Random(3)
    command = [
        *cut_off, str(own / "install.sh"), "--prefix", str(prefix), "--no-service",
        "--python", sys._base_executable,  # type: ignore[attr-defined]
    ]  # fmt: skip
    for _ in range(3):
        process = subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(draw.uniform(0.2, 8.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        done = subprocess.run(
            [prefix / "bin" / "edge-ser", "run", "demo"], capture_output=True, env=PLAIN
        )
        assert done.returncode == 0, done.stderr
        assert (prefix / "current" / "complete").exists()
    done = install(own / "install.sh", "--prefix", prefix, "--no-service")
    assert done.returncode == 0, done.stderr
    assert (prefix / "current").readlink() != before
    assert len(list((prefix / "releases").iterdir())) == 2, "the one before is kept, no more"
    mode = (prefix / "bin" / "edge-ser").stat().st_mode
    assert mode & stat.S_IXOTH
