"""Hooks that take blocks of steps hear of all of them, however a stream ends."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from voices import LoudnessGate, silence
from voices import voice as live_voice

from edge_ser.runtime import Recognizer, StageTiming, StepTiming, timing
from edge_ser.runtime.live import LiveStream
from edge_ser.runtime.step_block import StepBlock
from edge_ser.runtime.trace import TraceHook

STEP = 1280


class Blocks:
    """Counts the steps of every stream."""

    def __init__(self) -> None:
        self.steps: Counter[str] = Counter()

    def on_stage(self, timing: StageTiming) -> None:
        raise AssertionError("takes blocks")

    def on_step(self, timing: StepTiming) -> None:
        raise AssertionError("takes blocks")

    def on_block(self, block: StepBlock) -> None:
        self.steps[block.stream_id] += len(block.times)


@pytest.fixture(scope="module")
def recognizer(pack_path: Path) -> Recognizer:
    return Recognizer.open(pack_path)


@pytest.mark.parametrize("rest", [0, 700])
def test_a_finished_stream_has_told_of_every_step(recognizer, voice, rest):
    hook = Blocks()
    stream = recognizer.stream(hooks=[hook])
    stream.push(voice[: 12 * STEP + rest])
    assert stream.finish() is not None
    assert hook.steps["stream0"] == 12 + (rest > 0)


def test_a_finished_stream_of_a_group_has_told_of_every_step(recognizer, voice):
    hook = Blocks()
    group = recognizer.group(2, hooks=[hook])
    group.push([voice[: 5 * STEP], voice[: 7 * STEP + 1]])
    assert group.finish(1) is not None
    assert hook.steps == {"stream1": 8}
    assert group.finish(0) is not None
    assert hook.steps == {"stream0": 5, "stream1": 8}


def test_a_group_that_is_left_has_told_of_every_step(recognizer, voice):
    hook = Blocks()
    with recognizer.group(2, hooks=[hook]) as group:
        group.push([voice[: 5 * STEP]] * 2)
        assert not hook.steps
    assert hook.steps == {"stream0": 5, "stream1": 5}


def test_steps_do_not_wait_longer_when_no_more_samples_come(recognizer, voice, monkeypatch):
    hook = Blocks()
    live = LiveStream(recognizer, gate=LoudnessGate(), hooks=[hook])
    live.push(live_voice(1.0))
    group = recognizer.group(["a", "b"], hooks=[hook])
    group.push([voice[: 2 * STEP]] * 2)
    nothing = np.zeros(0, np.float32)
    live.push(nothing)
    group.push([voice[:STEP], voice[:0]])
    assert not hook.steps
    now = timing.clock()
    monkeypatch.setattr(timing, "clock", lambda: now + 3_000_000_000)
    live.push(nothing)
    assert hook.steps["stream0"] > 5
    group.push([voice[:STEP], voice[:0]])
    assert hook.steps["b"] == 2


@pytest.fixture
def talk() -> np.ndarray:
    return np.concatenate([silence(0.5), live_voice(1.5)])


def test_a_live_stream_has_told_of_every_step_when_it_ends(recognizer, talk, tmp_path: Path):
    trace, counted = TraceHook(tmp_path / "trace.json"), Blocks()
    live = LiveStream(recognizer, gate=LoudnessGate(), hooks=[trace, counted])
    events = live.push(talk)
    assert not any(event.final for event in events)
    events += live.finish()
    trace.close()
    slices = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    n_steps = sum(event["name"] == "step" for event in slices)
    assert n_steps == counted.steps["stream0"]
    assert n_steps == sum(event.type == "emotion" and not event.final for event in events) > 15


def test_metrics_are_whole_while_a_live_stream_is_silent(recognizer, talk):
    pytest.importorskip("prometheus_client", reason="needs the profile extra")
    from edge_ser.runtime.hooks.prometheus import PrometheusHook

    hook = PrometheusHook(recognizer)
    live = LiveStream(recognizer, gate=LoudnessGate(), hooks=[hook])
    events = live.push(np.concatenate([talk, silence(1.0)]))
    assert any(event.final for event in events)
    lines = dict(line.rsplit(" ", 1) for line in hook.exposition().decode().splitlines())
    n_events = sum(event.type == "emotion" and not event.final for event in events)
    assert float(lines["ser_frames_total"]) == n_events > 15
