"""What the service counts, for Prometheus."""

from __future__ import annotations

from edge_ser import __version__
from edge_ser.errors import MissingExtra
from edge_ser.events import Event
from edge_ser.runtime.recognizer import Recognizer
from edge_ser.runtime.timing import StageTiming, StepTiming

__all__ = ["Metrics"]

_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.08, 0.2)


class Metrics:
    """Counts events, and as a hook the time of every stage and step.

    Raises:
        MissingExtra: prometheus-client is not installed.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ImportError:
            raise MissingExtra("prometheus-client", "serve", "serve /metrics") from None
        self.registry = registry = CollectorRegistry()
        engine = recognizer.engine
        info = Gauge("ser_build_info", "What computes; always 1.",
                     ["version", "backend", "precision", "model"], registry=registry)  # fmt: skip
        name = recognizer.manifest.name
        info.labels(__version__, engine.backend, engine.precision, name).set(1)
        stage = Histogram("ser_stage_duration_seconds", "Time of one stage of one step.",
                          ["stage"], buckets=_SECONDS, registry=registry)  # fmt: skip
        self._stages = {key: stage.labels(key) for key in ("frontend", "infer", "post")}
        self._steps = Counter("ser_frames_total", "Model steps.", registry=registry)
        self._missed = Counter(
            "ser_deadline_misses_total", "Steps longer than their audio.", registry=registry
        )
        self._events = Counter(
            "ser_events_total", "Emotion events by label.", ["label"], registry=registry
        )
        self._abstained = Counter(
            "ser_abstentions_total", "Emotion events that abstain.", registry=registry
        )
        self._utterances = Counter("ser_utterances_total", "Utterances heard.", registry=registry)
        self._overflows = Counter(
            "ser_audio_overflows_total", "Times samples were lost.", registry=registry
        )
        self._missing = Counter(
            "ser_audio_dropped_seconds_total", "Audio that was lost.", registry=registry
        )
        self._losses = Counter(
            "ser_source_losses_total", "Times the source vanished.", registry=registry
        )
        self.source_up = Gauge(
            "ser_source_up", "Whether the source gives audio.", registry=registry
        )
        self.clients = Gauge("ser_clients", "Connected listeners and streams.", registry=registry)
        self.dropped = Counter(
            "ser_clients_dropped_total", "Listeners cut off as too slow.", registry=registry
        )
        self.held = Gauge("ser_hold", "Whether listening is on hold.", registry=registry)

    def on_stage(self, timing: StageTiming) -> None:
        """One stage of a step."""
        if (stage := self._stages.get(timing.stage)) is not None:
            stage.observe(timing.duration_ns * 1e-9)

    def on_step(self, timing: StepTiming) -> None:
        """A whole step."""
        self._steps.inc()
        if timing.missed:
            self._missed.inc()

    def count(self, event: Event) -> None:
        """An event of any stream."""
        if event.type == "emotion":
            self._events.labels(event.label).inc()
            if event.abstained:
                self._abstained.inc()
        elif event.type == "utterance.end":
            self._utterances.inc()
        elif event.type == "audio.gap":
            self._overflows.inc()
            self._missing.inc(event.detail["missing_ms"] / 1000)
        elif event.type == "source.lost":
            self._losses.inc()

    def text(self) -> bytes:
        """The page at ``/metrics``."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)
