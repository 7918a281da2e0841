"""The node: audio messages in, expressions of a voice out."""

from __future__ import annotations

from typing import Any

import rclpy
from hri_msgs.msg import Expression, IdsList
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from std_msgs.msg import Bool, String

from edge_ser.errors import EdgeSerError
from edge_ser.events import Event
from edge_ser.runtime import Recognizer
from edge_ser.runtime.hold import Hold
from edge_ser.runtime.live import LiveStream
from edge_ser.runtime.resample import LiveResampler
from edge_ser.runtime.ros2.audio import samples_of
from edge_ser.runtime.ros2.expression import expression_of

__all__ = ["EmotionNode", "audio_type", "main"]

_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def audio_type() -> Any:
    """The stamped audio message of the audio_common_msgs that is installed."""
    from audio_common_msgs import msg

    # mgonzs13's has AudioStamped, that of ros-drivers AudioDataStamped (older ones none).
    for name in ("AudioStamped", "AudioDataStamped", "AudioData"):
        if hasattr(msg, name):
            return getattr(msg, name)
    raise EdgeSerError("audio_common_msgs has no audio message that this node knows")


class EmotionNode(Node):
    """Audio messages in, expressions of one voice out.

    Parameters: ``pack``, ``voice_id``, ``audio_topic``, ``rate_hz`` (where the message does
    not say it), ``every``, ``hold_timeout_ms``.
    """

    def __init__(self) -> None:
        super().__init__("edge_ser")
        read = {
            name: self.declare_parameter(name, default).value
            for name, default in (
                ("pack", ""),
                ("voice_id", "robot"),
                ("audio_topic", "/audio"),
                ("rate_hz", 16000),
                ("every", 1),
                ("hold_timeout_ms", 10_000),
            )
        }
        self._voice, self._rate = read["voice_id"], read["rate_hz"]
        self._hold_timeout_ms = read["hold_timeout_ms"]
        self._recognizer = Recognizer.open(read["pack"] or None)
        self._live = LiveStream(self._recognizer, self._voice, every=read["every"])
        self._hold = Hold()
        self._resampler: LiveResampler | None = None
        self._from_hz = 0
        voice = f"/humans/voices/{self._voice}"
        self._tracked = self.create_publisher(IdsList, "/humans/voices/tracked", _LATCHED)
        self._speaking = self.create_publisher(Bool, f"{voice}/is_speaking", _LATCHED)
        self._expression = self.create_publisher(Expression, f"{voice}/expression", 10)
        self._event = self.create_publisher(String, "/edge_ser/event", 10)
        self.create_subscription(Bool, "/edge_ser/hold", self._on_hold, 10)
        kind = audio_type()
        self.create_subscription(kind, read["audio_topic"], self._on_audio, qos_profile_sensor_data)
        ids = IdsList(ids=[self._voice])
        ids.header.stamp = self.get_clock().now().to_msg()
        self._tracked.publish(ids)
        self._speaking.publish(Bool(data=False))
        self.get_logger().info(f"{read['audio_topic']} ({kind.__name__}) -> {voice}/expression")

    def _on_hold(self, message: Any) -> None:
        self._hold.set(message.data, timeout_ms=self._hold_timeout_ms, who="ros")

    def _on_audio(self, message: Any) -> None:
        try:
            samples, rate_hz = samples_of(message)
            rate_hz = rate_hz or self._rate
            if self._resampler is None or rate_hz != self._from_hz:
                self._resampler = LiveResampler(rate_hz, self._recognizer.rate_hz)
                self._from_hz = rate_hz
            events = self._live.hold(self._hold.held)
            events += self._live.push(self._resampler.push(samples))
        except EdgeSerError as error:
            self.get_logger().error(str(error), throttle_duration_sec=5.0)
            return
        # Messages without a stamp (ros-drivers' AudioData) were captured about now.
        header = getattr(message, "header", None)
        stamp = header.stamp if header is not None else self.get_clock().now().to_msg()
        for event in events:
            self._publish(event, stamp)

    def _publish(self, event: Event, stamp: Any) -> None:
        self._event.publish(String(data=event.to_json()))
        if event.type in ("utterance.start", "utterance.end"):
            self._speaking.publish(Bool(data=event.type == "utterance.start"))
        elif event.type == "emotion":
            word, valence, arousal, confidence = expression_of(event)
            message = Expression(
                expression=word, valence=valence, arousal=arousal, confidence=confidence
            )
            message.header.stamp = stamp
            message.header.frame_id = f"voice_{self._voice}"
            self._expression.publish(message)


def main() -> None:
    """Run the node until it is told to stop."""
    rclpy.init()
    node = EmotionNode()
    try:
        rclpy.spin(node)
    except KeyboardInterrupt:
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
