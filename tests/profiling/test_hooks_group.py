"""Streams that step together, or share a recognizer, and the hooks that watch them all."""

from __future__ import annotations

import gc
import logging
from pathlib import Path

import pytest

from edge_ser.runtime import Recognizer, StageTiming, StepTiming, group, stream, timing
from edge_ser.runtime.hook_faults import HookFaults
from edge_ser.runtime.hooks.deadline import DeadlineWatcher
from edge_ser.runtime.step_block import StepBlock
from edge_ser.runtime.timing import Hooks

STEP, MS = 1280, 1_000_000


class Clock:
    """Goes on by a microsecond whenever it is read, and when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0
        for module in (group, stream, timing):
            monkeypatch.setattr(module, "clock", self)

    def __call__(self) -> int:
        self.now += 1000
        return self.now


class Recorder:
    def __init__(self) -> None:
        self.stages: list[StageTiming] = []
        self.steps: list[StepTiming] = []

    def on_stage(self, timing: StageTiming) -> None:
        self.stages.append(timing)

    def on_step(self, timing: StepTiming) -> None:
        self.steps.append(timing)


class Slow(Recorder):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def on_step(self, timing: StepTiming) -> None:
        super().on_step(timing)
        self._clock.now += 30 * MS


class Raises(Recorder):
    def on_step(self, timing: StepTiming) -> None:
        super().on_step(timing)
        raise RuntimeError("a hook broke")


class RaisesInBlocks(Raises):
    def on_block(self, block: StepBlock) -> None:
        raise RuntimeError("a hook broke")


@pytest.fixture(scope="module")
def recognizer(pack_path: Path) -> Recognizer:
    return Recognizer.open(pack_path)


def test_a_slow_hook_of_one_stream_makes_no_other_late(recognizer, voice, monkeypatch):
    clock = Clock(monkeypatch)
    slow, watcher = Slow(clock), DeadlineWatcher()
    with recognizer.group(12, hooks=[slow, watcher]) as streams:
        streams.push([voice[: 2 * STEP]] * 12)
    assert len(slow.steps) == 24
    assert {step.missed for step in slow.steps} == {False}
    assert watcher.misses == 0


def test_a_stream_is_not_charged_for_the_events_of_those_before(recognizer, voice, monkeypatch):
    Clock(monkeypatch)
    hook = Recorder()
    (events, *others) = recognizer.group(5, hooks=[hook]).push([voice[:STEP]] * 5)
    assert [stage.duration_ns for stage in hook.stages if stage.stage == "post"] == [1000] * 5
    assert {step.duration_ns for step in hook.steps} == {3000}
    assert {e.latency_ms.total for e in [events[0], *(o[0] for o in others)]} == {0.003}


@pytest.mark.parametrize("kind", [Raises, RaisesInBlocks])
def test_a_hook_that_raises_is_reported_once_for_a_whole_group(pack_path, voice, caplog, kind):
    recognizer = Recognizer.open(pack_path)
    broken, good = kind(), Recorder()
    with recognizer.group(20, hooks=[broken, good]) as streams:
        streams.push([voice[:STEP]] * 20)
    with recognizer.stream("another", hooks=[broken]) as single:
        assert single.push(voice[:STEP])
    assert len(good.steps) == 20
    assert len(broken.steps) == (kind is Raises)
    assert caplog.text.count("left out from now on") == caplog.text.count("Traceback") == 1


def test_a_slow_hook_is_reported_once_for_a_whole_group(recognizer, voice, monkeypatch, caplog):
    slow = Slow(Clock(monkeypatch))
    with caplog.at_level(logging.WARNING):
        recognizer.group(20, hooks=[slow]).push([voice[:STEP]] * 20)
    assert len(slow.steps) == 20
    assert caplog.text.count("another thread") == 1


def test_a_slow_watcher_is_reported_by_its_own_name_once(recognizer, voice, monkeypatch, caplog):
    clock = Clock(monkeypatch)

    class Late(DeadlineWatcher):
        def on_step(self, timing: StepTiming) -> None:
            super().on_step(timing)
            clock.now += 30 * MS

    hooks = Hooks([Late()], "mic", 80 * MS, ("infer",))
    with caplog.at_level(logging.WARNING):
        for step in range(3):
            hooks.record(step, (0, 90 * MS))
    assert [record.args[0].misses for record in caplog.records] == [3]


def test_faults_do_not_pass_to_another_hook_in_the_same_place(caplog):
    caplog.set_level(logging.CRITICAL, "edge_ser")  # records would hold the hook
    faults = HookFaults()
    hook = Recorder()
    faults.raised(hook, 0, "mic")
    assert faults.left_out(hook)
    place = id(hook)
    del hook
    gc.collect()
    assert place not in faults._raised._by_id
    unweak = [1]  # a list allows no weak reference
    faults.raised(unweak, 0, "mic")
    assert faults.left_out(unweak)
    assert not faults.left_out([1])


def test_of_equal_hooks_the_one_that_raises_is_left_out(recognizer, voice):
    class Equal(Recorder):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None

    class EqualAndRaises(Equal):
        def on_step(self, timing: StepTiming) -> None:
            super().on_step(timing)
            raise RuntimeError("a hook broke")

    good, bad = Equal(), EqualAndRaises()
    with recognizer.stream(hooks=[good, bad]) as stream:
        stream.push(voice[: 5 * STEP])
    assert (len(good.steps), len(bad.steps)) == (5, 1)


def test_a_hook_that_cannot_be_compared_ends_no_stream(recognizer, voice):
    class Odd(Recorder):
        def __eq__(self, other: object):
            raise ValueError("an array has no truth")

        __hash__ = None

    class OddAndRaises(Odd):
        def on_step(self, timing: StepTiming) -> None:
            super().on_step(timing)
            raise RuntimeError("a hook broke")

    good, bad = Odd(), OddAndRaises()
    with recognizer.stream(hooks=[good, bad]) as stream:
        assert len(stream.push(voice[: 5 * STEP])) == 5
    assert (len(good.steps), len(bad.steps)) == (5, 1)


def test_a_clock_that_is_set_back_makes_no_time_negative(monkeypatch, recognizer, voice):
    now = iter(range(10**12, 0, -(10**6)))
    monkeypatch.setattr(stream, "clock", lambda: next(now))
    seen = Recorder()
    with recognizer.stream(hooks=[seen]) as watched:
        events = watched.push(voice[: 3 * STEP])
    for event in events:
        assert set(event.latency_ms.to_dict().values()) == {0.0}
    assert {timing.duration_ns for timing in (*seen.steps, *seen.stages)} == {0}
