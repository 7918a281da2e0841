"""The rclpy node, on doubles of the ROS packages (their names and fields, none of their wire)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from voices import silence, voice

from edge_ser.errors import EdgeSerError

NODE = Path(__file__).parents[2] / "ros2" / "edge_ser_ros" / "edge_ser_ros" / "emotion.py"


class Message:
    """A message of any type: the fields it is given, and a header."""

    def __init__(self, **fields: Any) -> None:
        self.header = SimpleNamespace(stamp=None, frame_id="")
        self.__dict__.update(fields)


class FakeNode:
    parameters: ClassVar[dict[str, Any]] = {}

    def __init__(self, name: str) -> None:
        self.published: dict[str, list[Any]] = {}
        self.heard: dict[str, Any] = {}
        self.errors: list[str] = []

    def declare_parameter(self, name: str, default: Any) -> Any:
        return SimpleNamespace(value=self.parameters.get(name, default))

    def create_publisher(self, _: Any, topic: str, __: Any) -> Any:
        return SimpleNamespace(publish=self.published.setdefault(topic, []).append)

    def create_subscription(self, _: Any, topic: str, callback: Any, __: Any) -> None:
        self.heard[topic] = callback

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(to_msg=lambda: "now"))

    def get_logger(self) -> Any:
        return SimpleNamespace(info=lambda _: None, error=lambda t, **_: self.errors.append(t))


def load(monkeypatch: pytest.MonkeyPatch, audio: dict[str, Any]) -> Any:
    kinds = {
        name: type(name, (Message,), {}) for name in ("Expression", "IdsList", "Bool", "String")
    }
    modules = {
        "rclpy": {},
        "rclpy.node": {"Node": FakeNode},
        "rclpy.qos": {
            "DurabilityPolicy": SimpleNamespace(TRANSIENT_LOCAL=1),
            "QoSProfile": lambda **how: how,
            "qos_profile_sensor_data": None,
        },
        "hri_msgs": {},
        "hri_msgs.msg": kinds,
        "std_msgs": {},
        "std_msgs.msg": kinds,
        "audio_common_msgs": {"msg": SimpleNamespace(**audio)},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("emotion_node", NODE)
    assert spec
    assert spec.loader
    node = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(node)
    return node


def ros_drivers(pcm: np.ndarray) -> Any:
    return Message(audio=SimpleNamespace(data=list(pcm.tobytes())))


def mgonzs13(pcm: np.ndarray) -> Any:
    empty: dict[str, list[int]] = {
        f"{kind}_data": [] for kind in ("float32", "int32", "int16", "int8", "uint8")
    }
    data = SimpleNamespace(**{**empty, "int16_data": pcm})
    return Message(
        audio=SimpleNamespace(audio_data=data, info=SimpleNamespace(channels=1, rate=16000))
    )


@pytest.mark.parametrize(
    ("package", "make"),
    [
        ({"AudioStamped": object}, mgonzs13),
        ({"AudioDataStamped": object, "AudioData": object}, ros_drivers),
    ],
)
def test_the_node_hears_either_package(
    pack_path: Path, monkeypatch: pytest.MonkeyPatch, package: dict[str, Any], make: Any
) -> None:
    module = load(monkeypatch, package)
    FakeNode.parameters = {"pack": str(pack_path), "voice_id": "v1", "every": 2}
    node = module.EmotionNode()
    assert node.published["/humans/voices/tracked"][0].ids == ["v1"]
    talk = (np.concatenate([silence(0.5), voice(1.5), silence(1.0)]) * 32767).astype("<i2")
    for start in range(0, len(talk), 1600):
        message = make(talk[start : start + 1600])
        message.header.stamp = f"at {start}"
        node.heard["/audio"](message)
    speaking = [m.data for m in node.published["/humans/voices/v1/is_speaking"]]
    assert speaking == [False, True, False]
    said = node.published["/humans/voices/v1/expression"]
    assert len(said) > 5
    assert all(m.header.frame_id == "voice_v1" for m in said)
    assert all(m.header.stamp.startswith("at ") for m in said)
    assert len(node.published["/edge_ser/event"]) > len(said)
    before = len(said)
    node.heard["/edge_ser/hold"](SimpleNamespace(data=True))
    for start in range(0, len(talk), 1600):
        node.heard["/audio"](make(talk[start : start + 1600]))
    assert len(said) == before, "nothing is heard on hold"
    node.heard["/audio"](SimpleNamespace(pixels=[]))
    assert node.errors
    assert "neither audio_common_msgs package" in node.errors[0]


def test_a_package_without_audio_is_said_so(
    pack_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = load(monkeypatch, {"Video": object})
    FakeNode.parameters = {"pack": str(pack_path)}
    with pytest.raises(EdgeSerError, match="no audio message that this node knows"):
        module.EmotionNode()
