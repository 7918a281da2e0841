"""Events to an MQTT broker, announced to Home Assistant."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections import deque
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

from edge_ser import __version__
from edge_ser.errors import MissingExtra, UsageError
from edge_ser.events import Event
from edge_ser.runtime.hold import Hold
from edge_ser.runtime.recognizer import Recognizer

__all__ = ["MqttBridge"]

log = logging.getLogger(__name__)
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class MqttBridge:
    """Publishes the events of a device; call it with each event, it never waits.

    Topics under ``ser/DEVICE/``: ``availability`` (retained, ``offline`` by last will),
    ``state`` (retained JSON, only when the state changes), ``speaking`` (retained), ``event``
    (everything, QoS 1), and ``hold/set`` to hold listening: ``ON``, ``OFF`` or
    ``{"hold":true,"timeout_ms":3000}``. While the broker is away the newest ``max_queue``
    events wait; older ones are dropped and counted, the retained topics are always brought up
    to date.

    Args:
        url: ``mqtt://[user:password@]host[:port]``, ``mqtts://`` for TLS.
        device_id: ``[a-zA-Z0-9_-]``, names the device in topics and in Home Assistant.
        recognizer: for the labels and the name of the pack.
        hold: what ``hold/set`` switches.
        prefix: Home Assistant's discovery prefix.
        max_queue: events that wait for the broker.

    Raises:
        MissingExtra: paho-mqtt is not installed.
        UsageError: the URL or the id makes no sense.
    """

    def __init__(
        self,
        url: str,
        device_id: str,
        recognizer: Recognizer,
        *,
        hold: Hold | None = None,
        prefix: str = "homeassistant",
        max_queue: int = 1000,
    ) -> None:
        try:
            from paho.mqtt import client as paho
            from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
        except ImportError:
            raise MissingExtra("paho-mqtt", "mqtt", "publish to an MQTT broker") from None
        if not _ID.fullmatch(device_id):
            raise UsageError(f"--device-id {device_id!r}: letters, digits, _ and - only, up to 64")
        self._host, self._port, parts = _address(url)
        self.device_id = device_id
        self._base = f"ser/{device_id}"
        self._labels = list(recognizer.labels)
        self._pack = recognizer.manifest.name
        self._prefix = prefix
        self._hold = hold
        self._lock = threading.Lock()
        self._waiting: deque[str] = deque(maxlen=max_queue)
        self._retained: dict[str, str] = {
            "state": json.dumps({"label": None, "confidence": 0.0}),
            "speaking": "OFF",
        }
        self._connected = False
        self._queue_is_full = MQTTErrorCode.MQTT_ERR_QUEUE_SIZE
        self.n_dropped = 0
        """Events that did not fit into the queue while the broker was away or slow."""
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"edge-ser-{device_id}"
        )
        # Our own queue has the bound; what paho holds is only what is on its way. An event may
        # bring a retained message along, and a connection begins with a few of its own.
        client.max_queued_messages_set(2 * max_queue + 10)
        if parts.username:
            client.username_pw_set(
                unquote(parts.username), unquote(parts.password) if parts.password else None
            )
        if parts.scheme == "mqtts":
            client.tls_set()
        client.will_set(f"{self._base}/availability", "offline", qos=1, retain=True)
        client.reconnect_delay_set(1, 30)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._connected

    def __enter__(self) -> MqttBridge:
        self._client.connect_async(self._host, self._port, keepalive=15)
        self._client.loop_start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._connected:
            # A clean disconnect sends no last will, so say it.
            sent = self._client.publish(f"{self._base}/availability", "offline", 1, retain=True)
            try:
                sent.wait_for_publish(2.0)
            except (RuntimeError, ValueError):
                log.debug("the broker went away before we did")
        self._client.disconnect()
        self._client.loop_stop()

    def __call__(self, event: Event) -> None:
        """Publish ``event``, or let it wait; from any thread."""
        text = event.to_json()
        with self._lock:
            if event.type == "state.change":
                self._retain("state", text)
            elif event.type in ("utterance.start", "utterance.end"):
                self._retain("speaking", "ON" if event.type == "utterance.start" else "OFF")
            if self._connected:
                self._send(text)
                return
            if len(self._waiting) == self._waiting.maxlen:
                self.n_dropped += 1
            self._waiting.append(text)

    def _send(self, text: str) -> None:
        # QoS 1: what a dying connection swallows is sent again after the next connect.
        sent = self._client.publish(f"{self._base}/event", text, 1)
        self.n_dropped += sent.rc == self._queue_is_full

    def _retain(self, topic: str, text: str) -> None:
        if self._retained[topic] == text:
            return
        self._retained[topic] = text
        if self._connected:
            self._client.publish(f"{self._base}/{topic}", text, 1, retain=True)

    def _on_connect(self, client: Any, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            log.warning("the MQTT broker refuses us: %s", reason)
            return
        log.info("connected to the MQTT broker %s:%d", self._host, self._port)
        client.subscribe([(f"{self._base}/hold/set", 1), (f"{self._prefix}/status", 1)])
        with self._lock:
            self._announce()
            client.publish(f"{self._base}/availability", "online", 1, retain=True)
            for topic, text in self._retained.items():
                client.publish(f"{self._base}/{topic}", text, 1, retain=True)
            while self._waiting:
                self._send(self._waiting.popleft())
            self._connected = True

    def _on_connect_fail(self, _: Any, __: Any) -> None:
        log.warning("no MQTT broker at %s:%d; trying again", self._host, self._port)

    def _on_disconnect(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        with self._lock:
            self._connected = False
        if reason.is_failure:
            log.warning("the MQTT broker is gone (%s); trying again", reason)

    def _on_message(self, _: Any, __: Any, message: Any) -> None:
        text = message.payload.decode(errors="replace").strip()
        if message.topic == f"{self._prefix}/status":
            if text == "online":  # Home Assistant has restarted and forgot us
                with self._lock:
                    self._announce()
            return
        if self._hold is None:
            return
        try:
            self._hold.set(**_hold_of(text))
        except (ValueError, UsageError) as error:
            log.warning("%s: %s", message.topic, error)

    def _announce(self) -> None:
        for component, key, config in self._entities():
            unique = f"{self.device_id}_{key}"
            config = {
                **config,
                "unique_id": unique,
                "default_entity_id": f"{component}.{unique}",
                "object_id": unique,  # its name before Home Assistant 2025.10
                "availability_topic": f"{self._base}/availability",
                "device": {
                    "identifiers": [self.device_id],
                    "name": f"Voice emotion {self.device_id}",
                    "model": self._pack,
                    "sw_version": __version__,
                },
                "origin": {"name": "edge-ser", "sw_version": __version__},
            }
            topic = f"{self._prefix}/{component}/{unique}/config"
            self._client.publish(topic, json.dumps(config), 1, retain=True)

    def _entities(self) -> list[tuple[str, str, dict[str, Any]]]:
        state = f"{self._base}/state"
        return [
            (
                "sensor",
                "emotion",
                {
                    "name": "Emotion",
                    "device_class": "enum",
                    "options": [*self._labels, "none"],
                    "state_topic": state,
                    "value_template": "{{ value_json.label or 'none' }}",
                    "json_attributes_topic": state,
                    "icon": "mdi:emoticon-outline",
                },
            ),
            (
                "sensor",
                "confidence",
                {
                    "name": "Confidence",
                    "state_class": "measurement",
                    "unit_of_measurement": "%",
                    "state_topic": state,
                    "value_template": "{{ (100 * value_json.confidence) | round(0) }}",
                },
            ),
            (
                "binary_sensor",
                "speaking",
                {
                    "name": "Speaking",
                    "device_class": "sound",
                    "state_topic": f"{self._base}/speaking",
                },
            ),
        ]


def _address(url: str) -> tuple[str, int, Any]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"--mqtt {url}: {error}") from error
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path not in ("", "/"):
        raise UsageError(f"--mqtt {url}: write it as mqtt://[user:password@]host[:port]")
    return parts.hostname, port or (8883 if parts.scheme == "mqtts" else 1883), parts


def _hold_of(text: str) -> dict[str, Any]:
    if text.upper() in ("ON", "OFF"):
        return {"hold": text.upper() == "ON", "who": "mqtt"}
    try:
        wish = json.loads(text)
    except (ValueError, RecursionError):
        wish = None
    if not isinstance(wish, dict) or not isinstance(wish.get("hold"), bool):
        raise ValueError(
            f'expected ON, OFF or {{"hold":true,"timeout_ms":3000}}, got {text[:60]!r}'
        )
    timeout_ms = wish.get("timeout_ms", 10_000)
    if isinstance(timeout_ms, bool) or not isinstance(timeout_ms, (int, float)):
        raise ValueError(f"timeout_ms must be a number, got {timeout_ms!r}")
    return {"hold": wish["hold"], "timeout_ms": timeout_ms, "who": "mqtt"}
