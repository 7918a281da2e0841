"""Publishes events as ROS4HRI says, straight over DDS."""

from __future__ import annotations

import re
import threading
import time
from types import TracebackType
from typing import Any

from edge_ser.errors import MissingExtra, UsageError
from edge_ser.events import Event
from edge_ser.runtime.background import Background
from edge_ser.runtime.hold import Hold
from edge_ser.runtime.ros2.domain import ros_domain
from edge_ser.runtime.ros2.expression import expression_of

__all__ = ["RosBridge"]

_ID = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,63}")


class RosBridge:
    """Publishes the events of one voice; call it with each event, it never waits.

    Topics (REP-155; ``expression`` under a voice is our extension, there it is known for faces
    only): ``/humans/voices/tracked`` (IdsList, transient local), ``/humans/voices/ID/is_speaking``
    (Bool, transient local), ``/humans/voices/ID/expression`` (Expression),
    ``/edge_ser/event`` (String, every event as JSON), and ``/edge_ser/hold`` (Bool) is listened
    to. Nothing but DDS is needed: rmw names topics ``rt/...`` and types ``pkg::msg::dds_::X_``.

    Args:
        voice_id: letters, digits and _; what else a device id has becomes _.
        hold: what ``/edge_ser/hold`` switches.
        hold_timeout_ms: after so long without a word a hold over ROS ends.
        domain: DDS domain; None for ``ROS_DOMAIN_ID`` or 0.

    Raises:
        MissingExtra: cyclonedds is not installed.
        UsageError: the id or the domain makes no sense.
    """

    def __init__(
        self,
        voice_id: str,
        *,
        hold: Hold | None = None,
        hold_timeout_ms: float = 10_000,
        domain: int | None = None,
    ) -> None:
        try:
            from cyclonedds.core import DDSException, Policy, Qos
            from cyclonedds.domain import DomainParticipant
            from cyclonedds.pub import DataWriter
            from cyclonedds.sub import DataReader
            from cyclonedds.topic import Topic
            from cyclonedds.util import duration
        except ImportError:
            raise MissingExtra("cyclonedds", "ros2", "speak ROS 2 topics") from None
        from edge_ser.runtime.ros2 import messages

        self.voice_id = re.sub(r"[^a-zA-Z0-9_]", "_", voice_id)
        if not _ID.fullmatch(self.voice_id):
            raise UsageError(f"voice id {voice_id!r}: must begin with a letter, up to 64 long")
        self._messages: Any = messages
        self._hold = hold
        self._hold_timeout_ms = hold_timeout_ms
        self._full = DDSException
        self.n_dropped = 0
        """Messages that no room was left for, because a reader does not keep up."""
        self._participant = DomainParticipant(ros_domain() if domain is None else domain)
        reliable = Policy.Reliability.Reliable(duration(milliseconds=0))  # a write never waits
        latched = Qos(reliable, Policy.Durability.TransientLocal, Policy.History.KeepLast(1))
        streamed = Qos(reliable, Policy.Durability.Volatile, Policy.History.KeepLast(10))

        def writer(name: str, kind: Any, qos: Any) -> Any:
            topic = Topic(self._participant, f"rt/{name}", kind, qos=qos)
            return DataWriter(self._participant, topic, qos=qos)

        voice = f"humans/voices/{self.voice_id}"
        self._tracked = writer("humans/voices/tracked", messages.IdsList, latched)
        self._speaking = writer(f"{voice}/is_speaking", messages.Bool, latched)
        self._expression = writer(f"{voice}/expression", messages.Expression, streamed)
        self._event = writer("edge_ser/event", messages.String, streamed)
        topic = Topic(self._participant, "rt/edge_ser/hold", messages.Bool, qos=streamed)
        self._holds = DataReader(self._participant, topic, qos=streamed)
        self._background = Background(self._take_holds, "taking holds of ROS", patience_s=2.0)

    def __enter__(self) -> RosBridge:
        self._track([self.voice_id])
        self._speaking.write(self._messages.Bool(False))
        self._background.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._background.stop()
        self._track([])

    def __call__(self, event: Event) -> None:
        """Publish ``event``; from any thread."""
        messages = self._messages
        self._write(self._event, messages.String(event.to_json()))
        if event.type in ("utterance.start", "utterance.end"):
            self._write(self._speaking, messages.Bool(event.type == "utterance.start"))
        elif event.type == "emotion":
            expression, valence, arousal, confidence = expression_of(event)
            # The stamp is when the last of the audio was captured, not when we were done.
            captured_ns = event.detail.get("captured_ns")
            age_ns = 0 if captured_ns is None else time.perf_counter_ns() - captured_ns
            header = self._header(time.time_ns() - age_ns)
            words = messages.Expression(header, expression, valence, arousal, confidence)
            self._write(self._expression, words)

    def _write(self, writer: Any, message: Any) -> None:
        try:
            writer.write(message)
        except self._full:
            self.n_dropped += 1

    def _header(self, stamp_ns: int) -> Any:
        messages = self._messages
        seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
        return messages.Header(messages.Time(seconds, nanoseconds), f"voice_{self.voice_id}")

    def _track(self, ids: list[str]) -> None:
        self._tracked.write(self._messages.IdsList(self._header(time.time_ns()), ids))

    def _take_holds(self, stop: threading.Event) -> None:
        from cyclonedds.core import InstanceState, ReadCondition, SampleState, ViewState, WaitSet
        from cyclonedds.util import duration

        waiting = WaitSet(self._participant)
        news = ReadCondition(self._holds, SampleState.Any | ViewState.Any | InstanceState.Alive)
        waiting.attach(news)
        while not stop.is_set():
            waiting.wait(duration(milliseconds=200))
            for message in self._holds.take(10):
                if self._hold is not None and hasattr(message, "data"):
                    self._hold.set(message.data, timeout_ms=self._hold_timeout_ms, who="ros")
