from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_ser.errors import UsageError
from edge_ser.events import Event
from edge_ser.runtime import Recognizer
from edge_ser.runtime.hold import Hold

paho = pytest.importorskip("paho.mqtt.client", reason="needs the mqtt extra")

from edge_ser.runtime.mqtt import MqttBridge
from edge_ser.runtime.serve.run import bind

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


class Broker:
    def __init__(self, folder: Path) -> None:
        with bind("127.0.0.1", 0) as probe:
            self.port = probe.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
        )
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        assert MOSQUITTO
        self.process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self._config)], stderr=subprocess.DEVNULL
        )
        until(lambda: _answers(self.port))

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


class Ear:
    """Everything a broker gives, by topic."""

    def __init__(self, port: int) -> None:
        self.heard: dict[str, list[tuple[str, bool]]] = {}
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.client.on_message = self._take
        self.client.on_connect = lambda c, *_: c.subscribe("#", 1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _take(self, _: Any, __: Any, message: Any) -> None:
        row = (message.payload.decode(), message.retain)
        self.heard.setdefault(message.topic, []).append(row)

    def last(self, topic: str) -> str | None:
        return self.heard[topic][-1][0] if topic in self.heard else None

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (apt install mosquitto)")
    it = Broker(tmp_path)
    yield it
    it.stop()


def change(seq: int, label: str | None) -> Event:
    return Event("state.change", seq, "mic0", 0, detail={"label": label, "confidence": 0.8})


def test_home_assistant_finds_the_device(broker: Broker, recognizer: Recognizer) -> None:
    broker.start()
    ear = Ear(broker.port)
    with MqttBridge(broker.url, "kiosk-1", recognizer) as bridge:
        until(lambda: bridge.connected)
        until(lambda: ear.last("ser/kiosk-1/availability") == "online")
        until(lambda: ear.last("homeassistant/binary_sensor/kiosk-1_speaking/config"))
        config = json.loads(ear.last("homeassistant/sensor/kiosk-1_emotion/config") or "")
        assert config["device_class"] == "enum"
        assert config["options"] == [*recognizer.labels, "none"]
        assert config["state_topic"] == "ser/kiosk-1/state"
        assert config["availability_topic"] == "ser/kiosk-1/availability"
        assert config["unique_id"] == config["object_id"] == "kiosk-1_emotion"
        # Home Assistant restarts: everything is announced again.
        before = len(ear.heard["homeassistant/sensor/kiosk-1_emotion/config"])
        ear.client.publish("homeassistant/status", "online", 1)
        topic = "homeassistant/sensor/kiosk-1_emotion/config"
        until(lambda: len(ear.heard[topic]) > before)
    until(lambda: ear.last("ser/kiosk-1/availability") == "offline")
    ear.close()


def test_state_is_retained_and_only_told_on_change(broker: Broker, recognizer: Recognizer) -> None:
    broker.start()
    ear = Ear(broker.port)
    with MqttBridge(broker.url, "k", recognizer) as bridge:
        until(lambda: bridge.connected)
        bridge(change(1, "happiness"))
        for number in range(2, 30):
            bridge(Event("emotion", number, "mic0", 0, label="anger", probabilities={"anger": 1}))
        bridge(change(30, "anger"))
        until(lambda: len(ear.heard.get("ser/k/event", [])) == 30)
        until(lambda: len(ear.heard.get("ser/k/state", [])) == 3)
        late = Ear(broker.port)
        until(lambda: late.last("ser/k/state"))
        assert json.loads(late.last("ser/k/state") or "")["label"] == "anger"
        assert late.heard["ser/k/state"][0][1] is True
        assert "ser/k/event" not in late.heard
        late.close()
    ear.close()


def test_a_broker_that_is_away_costs_only_what_the_queue_bound_says(
    broker: Broker, recognizer: Recognizer
) -> None:
    with MqttBridge(broker.url, "k", recognizer, max_queue=10) as bridge:
        for number in range(1, 26):
            bridge(change(number, "anger" if number % 2 else "fear"))
        assert bridge.n_dropped == 15
        broker.start()
        ear = Ear(broker.port)
        until(lambda: bridge.connected)
        until(lambda: len(ear.heard.get("ser/k/event", [])) >= 10 or bridge.connected)
        until(lambda: ear.last("ser/k/state"))
        assert json.loads(ear.last("ser/k/state") or "")["seq"] == 25
        broker.stop()
        until(lambda: not bridge.connected)
        bridge(change(26, "calm"))
        broker.start()
        ear.close()
        ear = Ear(broker.port)
        until(lambda: bridge.connected)
        until(lambda: json.loads(ear.last("ser/k/state") or "{}").get("seq") == 26)
        assert bridge.n_dropped == 15
        ear.close()


class Proxy:
    """A network between bridge and broker that can swallow everything, then break."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = bind("127.0.0.1", 0)
        self.port = self._listening.getsockname()[1]
        self.swallows = False
        self._wires: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._wires += [near, far]
                for a, b in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(a, b), daemon=True).start()

    def _pass(self, a: socket.socket, b: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := a.recv(4096):
                if not self.swallows:
                    b.sendall(data)

    def cut(self) -> None:
        wires, self._wires = self._wires, []
        for wire in wires:
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)
            wire.close()

    def close(self) -> None:
        self._listening.close()
        self.cut()


def test_what_a_dying_connection_swallows_is_sent_again(
    broker: Broker, recognizer: Recognizer
) -> None:
    broker.start()
    network = Proxy(broker.port)
    ear = Ear(broker.port)
    url = f"mqtt://127.0.0.1:{network.port}"

    def heard() -> set[int]:
        return {json.loads(text)["seq"] for text, _ in ear.heard.get("ser/k/event", [])}

    with MqttBridge(url, "k", recognizer, max_queue=100) as bridge:
        until(lambda: bridge.connected)
        bridge(change(1, "anger"))
        until(lambda: heard() == {1})
        network.swallows = True
        for number in range(2, 42):  # the bridge does not know yet that nobody hears them
            bridge(change(number, "fear"))
        assert bridge.connected
        network.swallows = False
        network.cut()
        for number in range(42, 62):
            bridge(change(number, "sadness"))
        assert bridge.n_dropped == 0
        until(lambda: heard() == set(range(1, 62)), 60)
    ear.close()
    network.close()


def test_the_last_will_speaks_for_the_dead(broker: Broker, recognizer: Recognizer) -> None:
    broker.start()
    ear = Ear(broker.port)
    bridge = MqttBridge(broker.url, "k", recognizer)
    with bridge:
        until(lambda: ear.last("ser/k/availability") == "online")
        # The plug is pulled: the socket closes without a goodbye.
        bridge._client.socket().shutdown(2)
        until(lambda: ("offline", False) in ear.heard["ser/k/availability"])
    ear.close()


def test_hold_over_mqtt(broker: Broker, recognizer: Recognizer) -> None:
    broker.start()
    hold = Hold()
    ear = Ear(broker.port)
    with MqttBridge(broker.url, "k", recognizer, hold=hold) as bridge:
        until(lambda: bridge.connected)
        time.sleep(0.2)
        ear.client.publish("ser/k/hold/set", "nonsense", 1)
        ear.client.publish("ser/k/hold/set", '{"hold":true,"timeout_ms":60000}', 1)
        until(lambda: hold.state == "held")
        ear.client.publish("ser/k/hold/set", "OFF", 1)
        until(lambda: hold.state != "held")
    ear.close()


@pytest.mark.parametrize(
    "url", ["broker", "http://x", "mqtt://", "mqtt://x:port", "mqtt://x/y", "mqtt://[::1"]
)
def test_urls_that_make_no_sense(url: str, recognizer: Recognizer) -> None:
    with pytest.raises(UsageError, match="--mqtt"):
        MqttBridge(url, "k", recognizer)


def test_ids_that_break_topics(recognizer: Recognizer) -> None:
    with pytest.raises(UsageError, match="letters, digits, _ and -"):
        MqttBridge("mqtt://x", "a/b", recognizer)
