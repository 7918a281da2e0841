"""Audio topics of ROS 2 as a live source, straight over DDS."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import InputError, MissingExtra, UsageError
from edge_ser.runtime.live_source import Heard, SourceGone
from edge_ser.runtime.resample import LiveResampler
from edge_ser.runtime.ros2.audio import samples_of
from edge_ser.runtime.ros2.domain import ros_domain

__all__ = ["RosAudio"]

_WAIT_S = 0.2  # a read that heard nothing returns after so long, so that its reader can stop
_FIND_S = 2.0
_SILENT_S = 5.0
_PREFIX = "audio_common_msgs::msg::dds_::"


class RosAudio:
    """Samples of an audio topic of either package that is named audio_common_msgs.

    The publisher's type says which: ``AudioData`` and ``AudioDataStamped`` are those of
    ros-drivers (s16le mono at ``topic_rate_hz``), ``AudioStamped`` is that of mgonzs13.

    Args:
        topic: as ROS writes it, ``/audio``.
        rate_hz: rate of the samples that :meth:`read` gives.
        topic_rate_hz: of messages that do not say theirs; None for ``rate_hz``.
        domain: DDS domain; None for ``ROS_DOMAIN_ID`` or 0.

    Raises:
        InputError: nobody publishes the topic, or with another type.
        MissingExtra: cyclonedds is not installed.
        UsageError: the topic makes no sense.
    """

    def __init__(
        self,
        topic: str,
        rate_hz: int,
        *,
        topic_rate_hz: int | None = None,
        domain: int | None = None,
    ) -> None:
        try:
            from cyclonedds.core import (
                InstanceState,
                Policy,
                Qos,
                ReadCondition,
                SampleState,
                ViewState,
                WaitSet,
            )
            from cyclonedds.domain import DomainParticipant
            from cyclonedds.sub import DataReader
            from cyclonedds.topic import Topic
            from cyclonedds.util import duration
        except ImportError:
            raise MissingExtra("cyclonedds", "ros2", "hear a ROS 2 topic") from None
        if not topic.startswith("/") or topic.endswith("/"):
            raise UsageError(f"ros:{topic}: write it as ros:/TOPIC, for example ros:/audio")
        self.name = f"ros:{topic}"
        self._rate_hz, self._topic_rate_hz = rate_hz, topic_rate_hz or rate_hz
        self._participant = DomainParticipant(ros_domain() if domain is None else domain)
        kind = self._kind(f"rt{topic}")
        # Best effort, so that publishers of either reliability match.
        qos = Qos(Policy.Reliability.BestEffort, Policy.History.KeepLast(50))
        self._reader = DataReader(
            self._participant, Topic(self._participant, f"rt{topic}", kind, qos=qos), qos=qos
        )
        self._waiting = WaitSet(self._participant)
        any_state = SampleState.Any | ViewState.Any | InstanceState.Alive
        self._news = ReadCondition(self._reader, any_state)
        self._waiting.attach(self._news)
        self._patience = duration(seconds=_WAIT_S)
        self.resampler: LiveResampler | None = None
        self._from_hz = 0
        self._last_s = time.monotonic()

    def _kind(self, name: str) -> Any:
        """The message type that the topic's publisher announces."""
        from cyclonedds.builtin import BuiltinDataReader, BuiltinTopicDcpsPublication

        from edge_ser.runtime.ros2 import messages

        kinds = {
            f"{_PREFIX}AudioData_": messages.RosDriversAudioData,
            f"{_PREFIX}AudioDataStamped_": messages.RosDriversAudioDataStamped,
            f"{_PREFIX}AudioStamped_": messages.AudioStamped,
        }
        publications = BuiltinDataReader(self._participant, BuiltinTopicDcpsPublication)
        end = time.monotonic() + _FIND_S
        while time.monotonic() < end:
            for found in publications.take(100):
                if getattr(found, "topic_name", None) != name:
                    continue
                if found.type_name in kinds:
                    return kinds[found.type_name]
                raise InputError(
                    f"{self.name} carries {_ros_name(found.type_name)}, which is of neither "
                    "audio_common_msgs package; there are AudioData and AudioDataStamped "
                    "(ros-drivers) and AudioStamped (mgonzs13)"
                )
            time.sleep(0.05)
        raise InputError(f"{self.name}: nobody publishes it; is ROS_DOMAIN_ID the same there?")

    def read(self) -> Heard:
        """What arrived, nothing when nothing did.

        Raises:
            SourceGone: no message came for five seconds.
            InputError: a message makes no sense.
        """
        self._waiting.wait(self._patience)
        messages = [m for m in self._reader.take(50) if hasattr(m, "__idl__")]
        now_ns = time.perf_counter_ns()
        if messages:
            self._last_s = time.monotonic()
        elif time.monotonic() - self._last_s > _SILENT_S:
            raise SourceGone(f"{self.name}: no message for {_SILENT_S:g} s")
        parts = [self._resampled(*samples_of(message)) for message in messages]
        return Heard(np.concatenate([np.empty(0, np.float32), *parts]), 0, now_ns)

    def _resampled(self, samples: NDArray[np.float32], rate_hz: int | None) -> NDArray[np.float32]:
        rate_hz = rate_hz or self._topic_rate_hz
        if self.resampler is None or rate_hz != self._from_hz:
            self.resampler, self._from_hz = LiveResampler(rate_hz, self._rate_hz), rate_hz
        return self.resampler.push(samples)

    def close(self) -> None:
        """Leave the domain."""
        # Cyclone's entities are closed when they are forgotten.
        for name in ("_news", "_waiting", "_reader", "_participant"):
            vars(self).pop(name, None)


def _ros_name(dds_name: str) -> str:
    return dds_name.replace("::msg::dds_::", "/msg/").rstrip("_")
