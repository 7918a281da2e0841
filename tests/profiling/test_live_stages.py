"""Steps of a live stream tell of every stage that their samples passed."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from voices import LoudnessGate, silence, voice

from edge_ser.runtime import Recognizer, StageTiming, StepTiming, group, listen, resample, stream
from edge_ser.runtime import live as live_module
from edge_ser.runtime import timing as timing_module
from edge_ser.runtime.hooks.deadline import DeadlineWatcher
from edge_ser.runtime.hooks.json_lines import JsonLinesHook
from edge_ser.runtime.listen import Listener
from edge_ser.runtime.live import LiveStream
from edge_ser.runtime.live_source import Heard, SourceGone
from edge_ser.runtime.resample import LiveResampler
from edge_ser.runtime.timing import STAGES
from edge_ser.runtime.trace import TraceHook

MS = 1_000_000
MODEL = ("frontend", "infer", "post")


class Clock:
    """Goes on by a microsecond whenever it is read, and when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000 * MS
        self.reads = 0
        for module in (group, listen, live_module, resample, stream, timing_module):
            if hasattr(module, "clock"):
                monkeypatch.setattr(module, "clock", self)

    def __call__(self) -> int:
        self.now += 1000
        self.reads += 1
        return self.now


class Steps:
    """Keeps each step with its stages."""

    def __init__(self) -> None:
        self._stages: list[StageTiming] = []
        self.told: list[tuple[StepTiming, list[StageTiming]]] = []

    def on_stage(self, timing: StageTiming) -> None:
        self._stages.append(timing)

    def on_step(self, timing: StepTiming) -> None:
        self.told.append((timing, self._stages))
        self._stages = []

    def longest(self, stage: str) -> int:
        return max(s.duration_ns for _, stages in self.told for s in stages if s.stage == stage)


class SlowGate(LoudnessGate):
    def __init__(self, clock: Clock, takes_ms: float) -> None:
        super().__init__()
        self._clock, self._takes_ns = clock, round(takes_ms * MS)

    def probability(self, window):
        self._clock.now += self._takes_ns
        return super().probability(window)


class Source:
    """Blocks of 80 ms that waited for a while when they are read."""

    name = "blocks"

    def __init__(self, clock: Clock, pcm, *, waits_ms: float = 0.0, rate_hz: int = 16000) -> None:
        size = rate_hz * 80 // 1000
        self._blocks = [pcm[i : i + size] for i in range(0, len(pcm), size)]
        self._clock, self._waits_ns = clock, round(waits_ms * MS)
        self.resampler = LiveResampler(rate_hz, 16000)
        self.stop = lambda: None

    def read(self) -> Heard:
        if not self._blocks:
            self.stop()
            return Heard(np.zeros(0, np.float32), 0, self._clock())
        self._clock.now += 80 * MS
        captured = self._clock.now
        self._clock.now += self._waits_ns
        return Heard(self.resampler.push(self._blocks.pop(0)), 0, captured)

    def close(self) -> None:
        pass


def hear(live: LiveStream, source: Source, emit, deadlines=None) -> None:
    listener = Listener(live, lambda: source, emit, rate_hz=16000, deadlines=deadlines)
    source.stop = listener.stop
    listener.run()


@pytest.fixture(scope="module")
def recognizer(pack_path: Path) -> Recognizer:
    return Recognizer.open(pack_path)


@pytest.fixture(scope="module")
def talk() -> np.ndarray:
    return np.concatenate([silence(2.0), voice(1.5), silence(1.0), voice(1.0, 3)])


def check_adjacent(told: list[tuple[StepTiming, list[StageTiming]]]) -> None:
    """Stages follow each other, and steps do not overlap, or a trace could not show them."""
    for number, (step, stages) in enumerate(told):
        assert step.step == number
        assert stages[0].start_ns == step.start_ns
        assert sum(stage.duration_ns for stage in stages) == step.duration_ns
        for first, second in itertools.pairwise(stages):
            assert second.start_ns == first.start_ns + first.duration_ns
    for (first, _), (second, _) in itertools.pairwise(told):
        assert second.start_ns >= first.start_ns + first.duration_ns


def test_a_live_stream_tells_of_its_gate(recognizer, talk, monkeypatch):
    hook, clock = Steps(), Clock(monkeypatch)
    live = LiveStream(recognizer, gate=SlowGate(clock, 3.0), hooks=[hook])
    for start in range(0, len(talk), 1280):
        live.push(talk[start : start + 1280])
    live.finish()
    assert {tuple(s.stage for s in stages) for _, stages in hook.told} == {("gate", *MODEL)}
    check_adjacent(hook.told)
    assert not any(step.missed for step, _ in hook.told), "of silence only the last window counts"
    gates = [stages[0].duration_ns // (3 * MS) for _, stages in hook.told]
    assert set(gates) <= {0, 1, 2, 3}
    assert sum(gates) > 2 * (1.5 + 1.0) * 12.5 - 20


@pytest.mark.parametrize("rate_hz", [16000, 48000])
def test_a_listener_tells_of_every_stage_in_order(recognizer, talk, monkeypatch, rate_hz):
    hook, clock, events = Steps(), Clock(monkeypatch), []
    live = LiveStream(recognizer, gate=SlowGate(clock, 1.0), hooks=[hook])

    def emit(event) -> None:
        if event.type == "emotion":
            clock.now += 2 * MS
        events.append(event)

    pcm = np.repeat(talk, rate_hz // 16000)
    hear(live, Source(clock, pcm, waits_ms=7.0, rate_hz=rate_hz), emit)
    expected = STAGES if rate_hz != 16000 else tuple(s for s in STAGES if s != "resample")
    assert {tuple(s.stage for s in stages) for _, stages in hook.told} == {expected}
    check_adjacent(hook.told)
    n_steps = sum(event.type == "emotion" and not event.final for event in events)
    assert len(hook.told) == n_steps > 20
    usual = {stage.stage: stage.duration_ns for stage in hook.told[15][1]}
    assert 7 * MS <= usual["capture"] < 7.1 * MS
    assert 2 * MS <= usual["publish"] < 2.1 * MS
    assert usual.get("resample", 1000) == 1000, "as long as from one look at the clock to the next"


@pytest.mark.parametrize("stage", ["capture", "gate", "publish"])
@pytest.mark.parametrize("blocks", [True, False])
def test_the_watcher_names_what_is_beside_the_model(recognizer, talk, monkeypatch, stage, blocks):
    clock, events = Clock(monkeypatch), []
    watcher = DeadlineWatcher()
    hook = watcher if blocks else Steps()
    if not blocks:
        hook.on_stage, hook.on_step = watcher.on_stage, watcher.on_step
    gate = SlowGate(clock, 1.0)
    live = LiveStream(recognizer, gate=gate, hooks=[hook])
    source = Source(clock, talk, waits_ms=1.0)

    def emit(event) -> None:
        events.append(event)
        if event.type != "emotion":
            return
        slow = 150 * MS if event.seq == 12 else 0
        if stage == "publish":
            clock.now += slow
        source._waits_ns = MS + (slow if stage == "capture" else 0)
        gate._takes_ns = MS + (slow if stage == "gate" else 0)

    hear(live, source, emit, watcher)
    misses = [event.detail for event in events if event.type == "deadline.miss"]
    assert [miss["stage"] for miss in misses] == [stage] * len(misses)
    assert 1 <= len(misses) <= 2
    assert misses[0]["stage_ms"] >= 150 > misses[0]["usual_ms"]


def test_without_hooks_no_clock_is_read_for_them(recognizer, talk, monkeypatch):
    def reads(hooks) -> tuple[int, int]:
        clock, finals = Clock(monkeypatch), []
        source = Source(clock, np.repeat(talk, 3), rate_hz=48000)
        live = LiveStream(recognizer, gate=LoudnessGate(), hooks=hooks)
        hear(live, source, finals.append)
        assert live.hooks is None or hooks
        return clock.reads, sum(event.type == "emotion" and not event.final for event in finals)

    read, n_steps = reads([])
    assert read == 4 * n_steps + 1, "those of each event's own latency, and the source's own"
    assert reads([Steps()])[0] > read


def test_files_of_a_live_stream_hold_the_same_steps(recognizer, talk, monkeypatch, tmp_path):
    clock, hook = Clock(monkeypatch), Steps()
    trace, lines = TraceHook(tmp_path / "trace.json"), JsonLinesHook(tmp_path / "steps.jsonl")
    live = LiveStream(recognizer, gate=SlowGate(clock, 1.0), hooks=[trace, lines, hook])
    hear(live, Source(clock, np.repeat(talk, 3), rate_hz=48000), lambda event: None)
    trace.close()
    lines.close()
    expected = [{s.stage: s.duration_ns for s in stages} for _, stages in hook.told]
    written = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [line["stages_ns"] for line in written] == expected
    assert list(written[0]["stages_ns"]) == list(STAGES)
    slices = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    for stage in (*STAGES, "step"):
        assert sum(event["name"] == stage for event in slices) == len(expected)


def test_counts_of_a_live_stream_have_every_stage(recognizer, talk, monkeypatch):
    pytest.importorskip("hdrh", reason="needs the profile extra")
    pytest.importorskip("prometheus_client", reason="needs the profile extra")
    from edge_ser.runtime.hooks.percentiles import PercentilesHook
    from edge_ser.runtime.hooks.prometheus import PrometheusHook

    clock, hook = Clock(monkeypatch), Steps()
    percentiles, metrics = PercentilesHook(), PrometheusHook(recognizer)
    live = LiveStream(recognizer, gate=SlowGate(clock, 1.0), hooks=[hook, percentiles, metrics])
    hear(live, Source(clock, np.repeat(talk, 3), rate_hz=48000), lambda event: None)
    snapshot, text = percentiles.snapshot(), metrics.exposition().decode()
    n_steps = len(hook.told)
    assert set(snapshot) == {*STAGES, "step"}
    for stage in STAGES:
        assert snapshot[stage]["count"] == n_steps
        assert snapshot[stage]["max"] * MS == pytest.approx(hook.longest(stage), rel=2e-3)
        assert f'ser_stage_duration_seconds_count{{stage="{stage}"}} {n_steps}.0' in text


def test_what_was_heard_is_told_when_handing_on_fails(recognizer, talk, monkeypatch):
    clock, hook = Clock(monkeypatch), Steps()
    live = LiveStream(recognizer, gate=LoudnessGate(), hooks=[hook])

    def emit(event) -> None:
        if event.final:
            raise RuntimeError("nobody takes it")

    with pytest.raises(RuntimeError, match="nobody takes it"):
        hear(live, Source(clock, talk), emit)
    assert len(hook.told) > 15


def test_a_source_with_another_rate_may_follow(recognizer, talk, monkeypatch):
    clock, hook = Clock(monkeypatch), Steps()
    live = LiveStream(recognizer, gate=LoudnessGate(), hooks=[hook])
    first, second = Source(clock, talk), Source(clock, np.repeat(talk, 3), rate_hz=48000)

    def gone() -> None:
        raise SourceGone("pulled out")

    first.stop = gone
    sources = [second, first]
    listener = Listener(live, sources.pop, lambda event: None, rate_hz=16000)
    second.stop = listener.stop
    listener.run()
    with_resampling = [len(stages) == len(STAGES) for _, stages in hook.told]
    assert with_resampling == sorted(with_resampling)
    assert {len(stages) for _, stages in hook.told} == {len(STAGES) - 1, len(STAGES)}
    check_adjacent(hook.told)
