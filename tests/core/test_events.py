"""Events as JSON: the keys of the interface and nothing lost."""

from __future__ import annotations

import json

import pytest

from edge_ser.events import SCHEMA, Event, Latency

KEYS = [
    "schema", "type", "seq", "stream_id", "t_mono_ns", "utterance_id", "trigger", "final",
    "audio_start_ms", "audio_end_ms", "label", "confidence", "abstained", "probabilities",
    "speech_probability", "latency_ms", "backend", "precision", "pack",
]  # fmt: skip


def emotion() -> Event:
    return Event(
        type="emotion",
        seq=42,
        stream_id="mic0",
        t_mono_ns=123456789012345,
        utterance_id="u7",
        trigger="interval",
        audio_start_ms=1200.0,
        audio_end_ms=3200.0625,
        label="happiness",
        confidence=0.7100001234,
        probabilities={"anger": 0.2899998766, "happiness": 0.7100001234},
        speech_probability=0.97,
        latency_ms=Latency(0.06, 0.21, 0.01, 0.28),
        backend="onnxruntime",
        precision="int8",
        pack="kiosk@1.0",
    )


def test_an_emotion_event_carries_every_key_on_one_line() -> None:
    text = emotion().to_json()
    assert "\n" not in text
    document = json.loads(text)
    assert sorted(document) == sorted(KEYS)
    assert document["schema"] == SCHEMA == "edge-ser.event/1"
    assert document["t_mono_ns"] == 123456789012345
    assert document["audio_end_ms"] == pytest.approx(3200.0625, abs=1e-3)
    assert document["confidence"] == document["probabilities"]["happiness"]
    assert sum(document["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)
    assert document["latency_ms"] == {
        "frontend": 0.06, "infer": 0.21, "post": 0.01, "total": 0.28,
    }  # fmt: skip
    assert document == emotion().to_dict()


def test_other_events_carry_their_particulars_only() -> None:
    event = Event("deadline.miss", 3, "mic0", 5, detail={"step": 7, "late_ms": 1.5})
    assert event.to_dict() == {
        "schema": SCHEMA, "type": "deadline.miss", "seq": 3, "stream_id": "mic0",
        "t_mono_ns": 5, "step": 7, "late_ms": 1.5,
    }  # fmt: skip
    started = Event("utterance.start", 1, "s", 2, utterance_id="u1", backend="b", pack="p@1")
    document = started.to_dict()
    assert document["utterance_id"] == "u1"
    assert document["pack"] == "p@1"
    assert "label" not in document


def test_events_do_not_share_their_dictionaries() -> None:
    first, second = Event("error", 1, "s", 1), Event("error", 2, "s", 1)
    first.detail["x"] = 1
    first.probabilities["anger"] = 1.0
    assert second.detail == {}
    assert second.probabilities == {}
