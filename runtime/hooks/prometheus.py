"""Metrics for Prometheus, named after its rules: prefix ``ser_``, base units, few labels."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from time import perf_counter_ns
from types import TracebackType
from typing import Any

import numpy as np

import edge_ser
from edge_ser.errors import MissingExtra, UsageError
from edge_ser.events import Event
from edge_ser.runtime.board import BoardCondition
from edge_ser.runtime.hooks.waiting_blocks import WaitingBlocks
from edge_ser.runtime.recognizer import Recognizer
from edge_ser.runtime.step_block import StepBlock
from edge_ser.runtime.timing import StageTiming, StepTiming

__all__ = ["PrometheusHook", "serve_metrics"]

BUCKETS_S = (
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005,
    0.01, 0.025, 0.05, 0.08, 0.1, 0.25, 1.0,
)  # fmt: skip
"""Upper bounds of the histogram, with the usual 80 ms deadline among them."""
_STEPS_A_COUNT = 4096
_STEP_STAGES = ("frontend", "infer", "post")  # of every stream; those of a live one come with it
_BOUNDS_NS = tuple(round(bound * 1e9) for bound in BUCKETS_S)


class PrometheusHook:
    """Counts steps, stages and events; a scrape turns the counts into metrics.

    Nothing of the client library is touched in a step. What was never told of (a sensor, a
    source) is not in the metrics. May be shared by all streams of a recognizer, whatever their
    threads; a scrape may come two seconds before the newest steps do.

    Args:
        recognizer: for ``ser_build_info``.

    Raises:
        MissingExtra: prometheus-client is not installed.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        try:
            import prometheus_client
        except ImportError:
            raise MissingExtra("prometheus-client", "profile", "publish metrics") from None
        self._build = {
            "version": edge_ser.__version__,
            "backend": recognizer.engine.backend,
            "precision": recognizer.engine.precision,
            "model": recognizer.manifest.name,
        }
        # Bucket counts, then the sum in nanoseconds.
        self._stages = {stage: _new_counts() for stage in _STEP_STAGES}
        self._blocks = WaitingBlocks(self._count_block, _STEPS_A_COUNT)
        self._ages = _new_counts()
        self._steps = 0
        self._misses = 0
        self._events: Counter[str] = Counter()
        self._abstentions = 0
        self._source_up: bool | None = None
        self._overflows = 0
        self._dropped_s = 0.0
        self._telling = threading.Lock()  # of events, which come from many threads
        self._board: BoardCondition | None = None
        self.registry = prometheus_client.CollectorRegistry()
        self.registry.register(self)

    def on_stage(self, timing: StageTiming) -> None:
        """Count a stage."""
        counts = self._stages.get(timing.stage)
        if counts is None:
            counts = self._stages[timing.stage] = _new_counts()
        _count(counts, timing.duration_ns)

    def on_step(self, timing: StepTiming) -> None:
        """Count a step."""
        self._steps += 1
        if timing.missed:
            self._misses += 1

    def on_block(self, block: StepBlock) -> None:
        """Count many steps; a scrape may come two seconds before a block does."""
        self._blocks.add(block)

    def _count_block(self, block: StepBlock) -> None:
        self._steps += len(block.times)
        self._misses += len(block.late)
        for stage, column in zip(block.stages, block.durations_ns.T, strict=False):
            counts = self._stages.get(stage)
            if counts is None:
                counts = self._stages[stage] = _new_counts()
            buckets = np.searchsorted(_BOUNDS_NS, column)
            for bucket, number in enumerate(np.bincount(buckets).tolist()):
                counts[bucket] += number
            counts[-1] += int(column.sum())

    def on_event(self, event: Event) -> None:
        """Count an event by what it tells: an emotion and its age, audio lost, the source."""
        captured_ns = event.detail.get("captured_ns")
        with self._telling:
            if event.type == "emotion" and event.label is not None:
                self._events[event.label] += 1
                self._abstentions += event.abstained
                if captured_ns is not None:
                    _count(self._ages, perf_counter_ns() - captured_ns)
            elif event.type == "audio.gap":
                self._overflows += 1
                self._dropped_s += event.detail["missing_ms"] / 1000
            if event.type in ("source.lost", "source.restored"):
                self._source_up = event.type == "source.restored"
            elif captured_ns is not None:
                self._source_up = True

    def on_source(self, up: bool) -> None:
        """Whether samples are coming in, for who knows it better than the events tell."""
        self._source_up = up

    def on_board(self, t_ns: int, condition: BoardCondition) -> None:
        """Remember the condition of the board (a sink of ``BoardSampler``)."""
        self._board = condition

    def exposition(self) -> bytes:
        """The metrics as text, for a service that has its own ``/metrics``."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)

    def collect(self) -> Iterator[Any]:
        """Metric families, as the client library asks for them at a scrape."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
            InfoMetricFamily,
        )

        self._blocks.settle()
        yield InfoMetricFamily("ser_build", "What computes.", value=self._build)
        stages = HistogramMetricFamily(
            "ser_stage_duration_seconds", "Time of one stage of one step.", labels=["stage"]
        )
        for stage, counts in list(self._stages.items()):
            stages.add_metric([stage], *_cumulative(counts))
        yield stages
        if any(self._ages):
            age = HistogramMetricFamily("ser_frame_age_seconds", "From a sound to its event.")
            age.add_metric([], *_cumulative(self._ages))
            yield age
        counters: list[tuple[str, str, float]] = [
            ("ser_frames", "Steps that were computed.", self._steps),
            ("ser_deadline_misses", "Steps that took longer than their audio.", self._misses),
            ("ser_abstentions", "Events too unsure to act upon.", self._abstentions),
        ]
        if self._source_up is not None or self._overflows:
            counters += [
                ("ser_audio_overflows", "Times that samples were lost.", self._overflows),
                ("ser_audio_dropped_seconds", "Audio lost.", self._dropped_s),
            ]
        for name, text, value in counters:
            yield CounterMetricFamily(name, text, value=value)
        if self._events:
            events = CounterMetricFamily("ser_events", "Emotion events by label.", labels=["label"])
            for label, number in list(self._events.items()):
                events.add_metric([label], number)
            yield events
        if self._source_up is not None:
            yield GaugeMetricFamily(
                "ser_source_up", "Whether samples come in.", value=self._source_up
            )
        yield from self._collect_board(self._board)

    def _collect_board(self, board: BoardCondition | None) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

        if board is None:
            return
        gpu = [t for name, t in board.temperatures_c.items() if "gpu" in name.lower()]
        if gpu:
            yield GaugeMetricFamily(
                "ser_gpu_temperature_celsius", "Hottest GPU sensor.", value=max(gpu)
            )
        if board.power_w:
            power = GaugeMetricFamily("ser_power_watts", "Power by rail.", labels=["rail"])
            for rail, watts in board.power_w.items():
                power.add_metric([rail], watts)
            yield power
        if board.power_mode is not None:
            yield InfoMetricFamily(
                "ser_power_mode", "The board's power mode.", value={"mode": board.power_mode}
            )


class serve_metrics:  # noqa: N801 - reads as the verb that it is
    """``GET /metrics`` in a thread of its own, as long as the context lasts.

    Args:
        hook: whose metrics.
        port: 0 for any free one; the real one is then in ``port``.
        host: address to listen on, only this machine by default.

    Raises:
        UsageError: the port is taken, or may not be opened.
    """

    def __init__(self, hook: PrometheusHook, port: int = 9109, host: str = "127.0.0.1") -> None:
        from prometheus_client import start_http_server

        try:
            self._server, self._thread = start_http_server(port, host, hook.registry)
        except OSError as error:
            raise UsageError(
                f"metrics cannot be served on {host}:{port} ({error.strerror or error}); "
                "choose another port, or stop what uses this one"
            ) from error
        except OverflowError:
            raise UsageError(f"port {port} does not exist; choose one of 1 to 65535") from None
        self.port: int = self._server.server_port

    def __enter__(self) -> serve_metrics:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _new_counts() -> list[int]:
    return [0] * (len(_BOUNDS_NS) + 2)


def _count(counts: list[int], duration_ns: int) -> None:
    counts[bisect_left(_BOUNDS_NS, duration_ns)] += 1
    if duration_ns > 0:
        counts[-1] += duration_ns


def _cumulative(counts: list[int]) -> tuple[list[tuple[str, float]], float]:
    """Buckets as the client library takes them, and the sum in seconds."""
    total, buckets = 0, []
    bounds = [str(bound) for bound in BUCKETS_S] + ["+Inf"]
    for bound, number in zip(bounds, counts[:-1], strict=True):
        total += number
        buckets.append((bound, float(total)))
    return buckets, counts[-1] / 1e9
