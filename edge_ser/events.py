"""What a stream says: events, and the time each of them took."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

__all__ = ["SCHEMA", "Event", "Latency"]

SCHEMA = "edge-ser.event/1"


@dataclass(slots=True)
class Latency:
    """Milliseconds from the last sample of a step being there to its event being ready."""

    frontend: float = 0.0
    infer: float = 0.0
    post: float = 0.0
    total: float = 0.0

    def to_dict(self) -> dict[str, float]:
        """JSON-ready, to a tenth of a microsecond."""
        return {
            "frontend": round(self.frontend, 4),
            "infer": round(self.infer, 4),
            "post": round(self.post, 4),
            "total": round(self.total, 4),
        }


@dataclass(slots=True)
class Event:
    """One event of a stream.

    Emotion events (``type == "emotion"``) carry all fields; others only those that apply,
    with particulars in ``detail``.

    Attributes:
        type: ``emotion``, ``stream.started``, ``utterance.start``, ``utterance.end``,
            ``state.change``, ``source.lost``, ``source.restored``, ``audio.gap``,
            ``deadline.miss``, ``error`` or ``stream.ended``.
        seq: number of the event in its stream, from 1.
        stream_id: name of the stream.
        t_mono_ns: monotonic clock when the event was made.
        utterance_id: the utterance it speaks of.
        trigger: ``interval`` after a step, ``speech_ended`` after an utterance.
        final: whether it speaks for a whole utterance.
        audio_start_ms: begin of the utterance, from the start of the stream.
        audio_end_ms: end of what was heard, from the start of the stream.
        label: the most probable label.
        confidence: its calibrated probability.
        abstained: whether the confidence is too low to act upon.
        probabilities: of every label of the pack, sum 1.
        speech_probability: of the speech gate, None without one.
        backend: engine that really computed it.
        precision: of the model that computed it.
        pack: ``id@version``.
    """

    type: str
    seq: int
    stream_id: str
    t_mono_ns: int
    utterance_id: str | None = None
    trigger: str | None = None
    final: bool = False
    audio_start_ms: float = 0.0
    audio_end_ms: float = 0.0
    label: str | None = None
    confidence: float = 0.0
    abstained: bool = False
    probabilities: dict[str, float] = field(default_factory=dict)
    speech_probability: float | None = None
    latency_ms: Latency = field(default_factory=Latency)
    backend: str = ""
    precision: str = ""
    pack: str = ""
    detail: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The event as the command line, the service and the bridges publish it."""
        head: dict[str, Any] = {
            "schema": SCHEMA,
            "type": self.type,
            "seq": self.seq,
            "stream_id": self.stream_id,
            "t_mono_ns": self.t_mono_ns,
        }
        if self.type != "emotion":
            if self.utterance_id is not None:
                head["utterance_id"] = self.utterance_id
            if self.pack:
                head |= {"backend": self.backend, "precision": self.precision, "pack": self.pack}
            return head | self.detail
        return head | {
            "utterance_id": self.utterance_id,
            "trigger": self.trigger,
            "final": self.final,
            "audio_start_ms": round(self.audio_start_ms, 3),
            "audio_end_ms": round(self.audio_end_ms, 3),
            "label": self.label,
            "confidence": round(self.confidence, 6),
            "abstained": self.abstained,
            "probabilities": {key: round(value, 6) for key, value in self.probabilities.items()},
            "speech_probability": self.speech_probability,
            "latency_ms": self.latency_ms.to_dict(),
            "backend": self.backend,
            "precision": self.precision,
            "pack": self.pack,
            **self.detail,
        }

    def to_json(self) -> str:
        """:meth:`to_dict` on one line."""
        return json.dumps(self.to_dict(), separators=(",", ":"))
