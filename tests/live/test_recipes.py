"""The recipes of docs/live do what they say."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from edge_ser.cli.main import build_parser
from edge_ser.errors import InputError
from edge_ser.events import Event
from edge_ser.runtime import Recognizer

pytest.importorskip("starlette", reason="needs the serve extra")
pytest.importorskip("websockets", reason="needs the serve extra")

from serving import Served

from edge_ser.runtime.serve import Service
from edge_ser.runtime.serve.run import bind

DOCS = Path(__file__).parents[2] / "docs" / "live"


def block(page: str, language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.S)
    assert found, f"{page} has no {language}"
    return found[1]


def test_the_robot_reacts_and_holds(recognizer: Recognizer) -> None:
    service = Service(recognizer)
    it = Served(service)
    reactions: list[Any] = []
    code = block("robot.md", "python").replace("127.0.0.1:8765", f"127.0.0.1:{it.port}")

    class EnoughError(Exception):
        pass

    def react(label: str | None) -> None:
        reactions.append(label)
        if len(reactions) == 2:
            raise EnoughError

    def robot() -> None:
        with pytest.raises(EnoughError):
            exec(code, {"react": react})

    thread = threading.Thread(target=robot)
    thread.start()
    seq = 0
    while thread.is_alive():
        for label in ("sadness", None):
            seq += 1
            service.emit(Event("state.change", seq, "mic0", 0, detail={"label": label}))
            service.emit(Event("utterance.start", seq, "mic0", 0))
        thread.join(0.2)
    assert reactions in (["sadness", None], [None, "sadness"])
    words = shlex.split(block("robot.md", "sh"))
    body = words[words.index("-d") + 1]
    assert words[words.index("-X") + 2].endswith("/v1/hold")
    assert json.loads(it.get("/v1/hold", body.encode())[1]) == {"hold": "held"}
    it.stop()


@pytest.mark.parametrize("page", ["README.md", "kiosk.md", "home-assistant.md", "ros2.md"])
def test_every_command_of_the_pages_is_understood(page: str) -> None:
    text = (DOCS / page).read_text()
    found = re.findall(
        r"(?:`|^|/bin/)(edge-ser (?:run|serve|mic|replay) [^`\n]*?)(?:`|$)", text, re.M
    )
    known = [line.replace(" / ", "\0").split("\0")[0] for line in found]
    assert known or page == "ros2.md"
    for line in known:
        words = [w for w in shlex.split(line)[1:] if w != "..."]
        build_parser(words).parse_args(words)


def test_home_assistant_s_automation_fires(recognizer: Recognizer, tmp_path: Path) -> None:
    """What Home Assistant does with the recipe, on what a real broker gives it."""
    pytest.importorskip("paho.mqtt.client", reason="needs the mqtt extra")
    jinja2 = pytest.importorskip("jinja2", reason="needs jinja2 (dev extra)")
    yaml = pytest.importorskip("yaml", reason="needs pyyaml (dev extra)")
    from test_mqtt import MOSQUITTO, Broker, Ear, until

    from edge_ser.runtime.mqtt import MqttBridge

    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (tests/apt-packages.txt)")
    words = shlex.split(block("home-assistant.md", "sh"))
    device = words[words.index("--device-id") + 1]
    [trigger] = yaml.safe_load(block("home-assistant.md", "yaml"))["triggers"]
    kind, _, name = trigger["entity_id"].partition(".")
    broker = Broker(tmp_path)
    broker.start()
    ear = Ear(broker.port)
    try:
        with MqttBridge(broker.url, device, recognizer) as bridge:
            discovery = f"homeassistant/{kind}/{name}/config"
            until(lambda: ear.last(discovery))
            config = json.loads(ear.last(discovery) or "")
            assert config["default_entity_id"] == trigger["entity_id"]
            assert trigger["to"] in config["options"]
            template = jinja2.Template(config["value_template"])

            def state() -> str:
                value = json.loads(ear.last(config["state_topic"]) or '{"label": null}')
                return str(template.render(value_json=value))

            assert state() == "none"
            detail = {"label": trigger["to"], "confidence": 0.8}
            bridge(Event("state.change", 1, "mic0", 0, detail=detail))
            until(lambda: state() == trigger["to"])
    finally:
        ear.close()
        broker.stop()


def test_the_kiosk_s_command_starts_a_service_that_says_when_it_is_ready(
    pack_path: Path, tmp_path: Path
) -> None:
    found = re.search(r"`\S+/edge-ser (serve [^`]+)`", (DOCS / "kiosk.md").read_text())
    assert found
    words = found.group(1).split()
    with bind("127.0.0.1", 0) as probe:
        port = str(probe.getsockname()[1])
    words[words.index("--port") + 1] = port
    words[words.index("--input") + 1] = "none"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(120)
        server = subprocess.Popen(
            [sys.executable, "-m", "edge_ser", *words, "--pack", str(pack_path)],
            env={**os.environ, "PYTHONPATH": str(DOCS.parents[1]),
                 "NOTIFY_SOCKET": str(tmp_path / "notify")},
        )  # fmt: skip
        try:
            assert systemd.recv(500).splitlines()[0] == b"READY=1"
            page = shlex.split(block("kiosk.md", "sh"))[-1].replace("8765", port)
            with urllib.request.urlopen(page, timeout=60) as reply:
                assert b"Live emotion from the voice" in reply.read()
            for path in ("healthz", "readyz"):
                with urllib.request.urlopen(page + path, timeout=60) as reply:
                    assert reply.status == 200
            server.terminate()
            assert systemd.recv(500) == b"STOPPING=1"
            assert server.wait(60) == 0
        finally:
            server.kill()
            server.wait()


def test_the_ros_recipe_is_heard_by_another_process(pack_path: Path) -> None:
    pytest.importorskip("cyclonedds", reason="needs the ros2 extra")
    from edge_ser.runtime.ros2.source import RosAudio

    found = re.search(
        r"`edge-ser (serve --ros2 --device-id (\w+))`", (DOCS / "ros2.md").read_text()
    )
    assert found
    env = {**os.environ, "PYTHONPATH": str(DOCS.parents[1]), "ROS_DOMAIN_ID": "84"}
    server = subprocess.Popen(
        [sys.executable, "-m", "edge_ser", *found[1].split(), "--input", "none", "--port", "0",
         "--pack", str(pack_path)], env=env,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while True:
            # The voice's topic is announced, with the type that ROS4HRI gives it.
            with pytest.raises(InputError) as said:
                RosAudio(f"/humans/voices/{found[2]}/expression", 16000, domain=84)
            if "nobody publishes" not in str(said.value):
                break
            assert time.monotonic() < deadline
        assert "hri_msgs/msg/Expression" in str(said.value)
    finally:
        server.terminate()
        server.wait(60)


def test_the_ros_package_is_valid_python_and_xml() -> None:
    import ast
    from xml.etree import ElementTree

    package = DOCS.parents[1] / "ros2" / "edge_ser_ros"
    tree = ElementTree.parse(package / "package.xml")
    assert tree.findtext("name") == "edge_ser_ros"
    for path in package.rglob("*.py"):
        ast.parse(path.read_text())
