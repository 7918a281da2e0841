"""The recipes of docs/live do what they say."""

from __future__ import annotations

import json
import re
import shlex
import threading
from pathlib import Path
from typing import Any

import pytest

from edge_ser.cli.main import build_parser
from edge_ser.events import Event
from edge_ser.runtime import Recognizer

pytest.importorskip("starlette", reason="needs the serve extra")
pytest.importorskip("websockets", reason="needs the serve extra")

from serving import Served

from edge_ser.runtime.serve import Service

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


def test_home_assistant_s_automation_names_an_entity_that_is_announced(
    recognizer: Recognizer,
) -> None:
    pytest.importorskip("paho.mqtt.client", reason="needs the mqtt extra")
    from edge_ser.runtime.mqtt import MqttBridge

    words = shlex.split(block("home-assistant.md", "sh"))
    device = words[words.index("--device-id") + 1]
    bridge = MqttBridge("mqtt://x", device, recognizer)
    entities = {f"{kind}.{device}_{key}": config for kind, key, config in bridge._entities()}
    recipe = block("home-assistant.md", "yaml")
    entity = re.search(r"entity_id: (\S+_\S+)", recipe)
    state = re.search(r"to: (\w+)", recipe)
    assert entity
    assert state
    assert state[1] in entities[entity[1]]["options"]


def test_the_ros_package_is_valid_python_and_xml() -> None:
    import ast
    from xml.etree import ElementTree

    package = DOCS.parents[1] / "ros2" / "edge_ser_ros"
    tree = ElementTree.parse(package / "package.xml")
    assert tree.findtext("name") == "edge_ser_ros"
    for path in package.rglob("*.py"):
        ast.parse(path.read_text())
