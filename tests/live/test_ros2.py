from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_ser.errors import InputError, UsageError
from edge_ser.events import Event
from edge_ser.labels import LABELS
from edge_ser.runtime.hold import Hold
from edge_ser.runtime.ros2.audio import samples_of
from edge_ser.runtime.ros2.expression import EXPRESSIONS, expression_of

ROOT = Path(__file__).parents[2]

LISTENER = """
import sys, time
from cyclonedds.core import Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration
from edge_ser.runtime.ros2 import messages as m
domain = DomainParticipant(int(sys.argv[1]))
reliable = Policy.Reliability.Reliable(duration(seconds=1))
latched = Qos(reliable, Policy.Durability.TransientLocal, Policy.History.KeepLast(1))
streamed = Qos(reliable, Policy.History.KeepLast(50))
def reader(name, kind, qos):
    return DataReader(domain, Topic(domain, "rt/" + name, kind, qos=qos), qos=qos)
tracked = reader("humans/voices/tracked", m.IdsList, latched)
speaking = reader("humans/voices/robot_1/is_speaking", m.Bool, latched)
expression = reader("humans/voices/robot_1/expression", m.Expression, streamed)
events = reader("edge_ser/event", m.String, streamed)
hold = DataWriter(domain, Topic(domain, "rt/edge_ser/hold", m.Bool, qos=streamed), qos=streamed)
seen = set()
end = time.monotonic() + 60
while time.monotonic() < end and len(seen) < 4:
    hold.write(m.Bool(True))
    for name, r in (("tracked", tracked), ("speaking", speaking), ("expression", expression),
                    ("event", events)):
        for x in r.take(10):
            if name == "tracked" and x.ids == ["robot_1"]: seen.add(name)
            if name == "speaking" and x.data: seen.add(name)
            if name == "expression":
                assert x.expression == "scared" and abs(x.confidence - 0.75) < 1e-6, x
                assert x.header.frame_id == "voice_robot_1" and x.header.stamp.sec > 1e9, x
                assert x.valence < 0 < x.arousal, x
                seen.add(name)
            if name == "event" and '"type":"emotion"' in x.data: seen.add(name)
    time.sleep(0.05)
print(sorted(seen))
"""


def emotion(label: str = "fear", confidence: float = 0.75) -> Event:
    rest = "calm" if label != "calm" else "neutral"
    return Event("emotion", 1, "mic0", 0, label=label, confidence=confidence,
                 probabilities={label: confidence, rest: 1 - confidence})  # fmt: skip


def test_two_processes_talk_over_dds() -> None:
    pytest.importorskip("cyclonedds", reason="needs the ros2 extra")
    from edge_ser.runtime.ros2 import RosBridge

    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    domain = 77
    hold = Hold()
    with RosBridge("robot-1", hold=hold, domain=domain) as bridge:
        other = subprocess.Popen([sys.executable, "-c", LISTENER, str(domain)], env=env,
                                 stdout=subprocess.PIPE, text=True)  # fmt: skip
        deadline = time.monotonic() + 70
        while other.poll() is None and time.monotonic() < deadline:
            bridge(Event("utterance.start", 1, "mic0", 0))
            bridge(emotion())
            time.sleep(0.05)
        out, _ = other.communicate(timeout=10)
        assert out.strip() == "['event', 'expression', 'speaking', 'tracked']"
        assert hold.held


def test_every_label_has_a_word_or_none_on_purpose() -> None:
    assert set(LABELS) - set(EXPRESSIONS) == {"calm"}
    assert expression_of(emotion("calm"))[0] == ""
    word, valence, arousal, confidence = expression_of(emotion("happiness", 0.9))
    assert (word, confidence) == ("happy", 0.9)
    assert 0 < valence <= 1
    assert -1 <= arousal <= 1
    unsure = emotion("anger")
    unsure.abstained = True
    assert expression_of(unsure)[0::3] == ("", 0.0)


def test_audio_of_both_packages() -> None:
    pcm = np.array([0, 16384, -32768], np.int16)
    raw = SimpleNamespace(data=list(pcm.tobytes()))
    assert samples_of(raw)[0].tolist() == [0, 0.5, -1]
    stamped = SimpleNamespace(header=None, audio=raw)
    assert samples_of(stamped)[0].tolist() == [0, 0.5, -1]
    lists = {f"{kind}_data": [] for kind in ("float32", "int32", "int16", "int8", "uint8")}
    typed = SimpleNamespace(**{**lists, "int16_data": [0, 0, 16384, 0]})
    info = SimpleNamespace(channels=2, rate=48000)
    audio = SimpleNamespace(audio_data=typed, info=info)
    samples, rate = samples_of(SimpleNamespace(header=None, audio=audio))
    assert samples.tolist() == [0, 0.25]
    assert rate == 48000


def test_audio_of_neither_package() -> None:
    with pytest.raises(InputError, match="neither audio_common_msgs package"):
        samples_of(SimpleNamespace(pixels=[]))
    with pytest.raises(InputError, match="compressed"):
        samples_of(SimpleNamespace(data=[1, 2, 3]))


AUDIO = """
import sys, time
import numpy as np
from cyclonedds.core import Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.pub import DataWriter
from cyclonedds.topic import Topic
from edge_ser.runtime.ros2 import messages as m
kind, domain = sys.argv[1], DomainParticipant(int(sys.argv[2]))
tone = (8000 * np.sin(np.arange(16000) / 5)).astype("<i2")
part = tone[:1600]
make = {
    "AudioData": lambda: m.RosDriversAudioData(list(part.tobytes())),
    "AudioDataStamped": lambda: m.RosDriversAudioDataStamped(
        m.Header(), m.RosDriversAudioData(list(part.tobytes()))),
    "AudioStamped": lambda: m.AudioStamped(m.Header(), m.Audio(
        m.AudioDataUnion(int16_data=np.repeat(part, 2).tolist()),
        m.AudioInfo(channels=2, rate=16000))),
    "String": lambda: m.String("no audio"),
}[kind]
qos = Qos(Policy.Reliability.BestEffort, Policy.History.KeepLast(5))
writer = DataWriter(domain, Topic(domain, "rt/audio", type(make()), qos=qos), qos=qos)
while True:
    writer.write(make())
    time.sleep(0.02)
"""


# Domains of their own: a killed publisher is remembered until its lease ends.
@pytest.mark.parametrize(
    ("kind", "domain"), [("AudioData", 78), ("AudioDataStamped", 81), ("AudioStamped", 82)]
)
def test_audio_of_another_process_is_heard(kind: str, domain: int) -> None:
    pytest.importorskip("cyclonedds", reason="needs the ros2 extra")
    from edge_ser.runtime.ros2.source import RosAudio

    with publishing(kind, domain):
        source = opened(RosAudio, domain)
        samples = np.empty(0, np.float32)
        while len(samples) < 8000:
            samples = np.concatenate([samples, source.read().samples])
        source.close()
    assert np.abs(samples).max() == pytest.approx(8000 / 32768, rel=0.01)
    part = (8000 * np.sin(np.arange(1600) / 5)).astype("<i2").astype(np.float32) / 32768
    whole = samples[: len(samples) // 1600 * 1600].reshape(-1, 1600)
    np.testing.assert_allclose(whole, np.broadcast_to(part, whole.shape), atol=1e-6)


def test_a_topic_of_another_type_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cyclonedds", reason="needs the ros2 extra")
    from edge_ser.runtime.ros2 import source

    with publishing("String", 79) as domain, pytest.raises(InputError) as error:
        opened(source.RosAudio, domain)
    assert "ros:/audio carries std_msgs/msg/String, which is of neither" in str(error.value)
    monkeypatch.setattr(source, "_FIND_S", 0.05)
    with pytest.raises(InputError, match="ros:/nothing: nobody publishes it"):
        source.RosAudio("/nothing", 16000, domain=80)


def test_topics_and_domains_that_make_no_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cyclonedds", reason="needs the ros2 extra")
    from edge_ser.runtime.live_source import opener
    from edge_ser.runtime.ros2.source import RosAudio

    with pytest.raises(UsageError, match="write it as ros:/TOPIC"):
        RosAudio("audio", 16000)
    with pytest.raises(UsageError, match="rate is a number"):
        opener("ros:/audio?rate=x", 16000)
    monkeypatch.setenv("ROS_DOMAIN_ID", "many")
    with pytest.raises(UsageError, match="ROS_DOMAIN_ID is a number from 0 to 232, got 'many'"):
        RosAudio("/audio", 16000)


@contextlib.contextmanager
def publishing(kind: str, domain: int) -> Iterator[int]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    other = subprocess.Popen([sys.executable, "-c", AUDIO, kind, str(domain)], env=env)
    try:
        yield domain
    finally:
        other.kill()
        other.wait()


def opened(kind: Any, domain: int) -> Any:
    """The source, once the other process has begun."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return kind("/audio", 16000, domain=domain)
        except InputError as error:
            if "nobody publishes" not in str(error) or time.monotonic() > deadline:
                raise
