"""Streams: any chunking gives the same events; bad samples are refused whole."""

from __future__ import annotations

import itertools
import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making.speech import speech, speech_pcm
from numpy.typing import NDArray

from edge_ser.errors import InputError, UsageError
from edge_ser.events import Event
from edge_ser.pack import HeardPoint, open_pack, write_pack
from edge_ser.runtime import Recognizer, StageTiming, StepTiming, Stream

SECONDS = 2.503


@pytest.fixture(scope="module")
def recognizer(shared_pack: Path) -> Recognizer:
    return Recognizer.open(shared_pack)


def events_of(stream: Stream, parts: list[NDArray[Any]]) -> list[Event]:
    events = [event for part in parts for event in stream.push(part)]
    final = stream.finish()
    return events if final is None else [*events, final]


def cut(pcm: NDArray[Any], size: int) -> list[NDArray[Any]]:
    return [pcm[start : start + size] for start in range(0, len(pcm), size)]


def said(events: list[Event]) -> list[tuple[Any, ...]]:
    """All of the events but the clocks."""
    return [
        (e.type, e.seq, e.trigger, e.final, e.audio_end_ms, e.label, e.abstained, e.probabilities)
        for e in events
    ]


def test_the_events_of_an_utterance(recognizer: Recognizer, pcm: NDArray[np.int16]) -> None:
    events = events_of(recognizer.stream("mic7"), [pcm])
    n_steps = -(-len(pcm) // 1280)
    assert [event.seq for event in events] == list(range(1, n_steps + 1))
    assert {event.trigger for event in events[:-1]} == {"interval"}
    final = events[-1]
    assert final.final
    assert final.trigger == "speech_ended"
    assert final.audio_end_ms == pytest.approx(len(pcm) / 16)
    assert [e.audio_end_ms for e in events[:-1]] == [80.0 * k for k in range(1, n_steps)]
    for event in events:
        assert event.type == "emotion"
        assert event.stream_id == "mic7"
        assert event.pack == recognizer.manifest.name
        assert event.backend == "onnxruntime"
        assert set(event.probabilities) == set(recognizer.labels)
        assert sum(event.probabilities.values()) == pytest.approx(1.0)
        assert event.label == max(event.probabilities, key=lambda key: event.probabilities[key])
        assert event.confidence == max(event.probabilities.values())
        assert event.abstained == (event.confidence < recognizer.manifest.calibration.abstain_below)
        parts = event.latency_ms
        assert parts.total == pytest.approx(parts.frontend + parts.infer + parts.post)
        assert parts.frontend > 0
        assert parts.infer > 0
    assert len({str(event.probabilities) for event in events}) > n_steps // 2


@pytest.mark.parametrize("size", [1, 2, 3, 7, 160, 641, 1279, 1280, 1281, 9973, 10**6])
def test_any_chunk_size_gives_the_same_events(
    recognizer: Recognizer, pcm: NDArray[np.int16], size: int
) -> None:
    whole = events_of(recognizer.stream(), [pcm])
    assert said(events_of(recognizer.stream(), cut(pcm, size))) == said(whole)


@given(cuts=st.lists(st.integers(0, round(SECONDS * 16000)), max_size=20))
def test_any_cuts_give_the_same_events(recognizer: Recognizer, cuts: list[int]) -> None:
    pcm = speech_pcm(SECONDS)
    parts = np.split(pcm, sorted(cuts))  # equal cuts give empty chunks, which are allowed
    assert said(events_of(recognizer.stream(), parts)) == said(
        events_of(recognizer.stream(), [pcm])
    )


def test_floating_point_gives_the_same_as_16_bit(
    recognizer: Recognizer, pcm: NDArray[np.int16]
) -> None:
    whole = said(events_of(recognizer.stream(), [pcm]))
    for dtype in (np.float32, np.float64):
        assert said(events_of(recognizer.stream(), cut(pcm.astype(dtype) / 32768, 997))) == whole
    parts: list[NDArray[Any]] = cut(pcm, 1000)
    parts[1::2] = [part.astype(np.float32) / 32768 for part in parts[1::2]]
    assert said(events_of(recognizer.stream(), parts)) == whole
    both = np.stack([pcm, pcm], axis=1)
    assert said(events_of(recognizer.stream(), [both[:, 0]])) == whole  # strided


def test_the_buffer_of_a_caller_may_be_used_again_and_is_not_changed(
    recognizer: Recognizer, pcm: NDArray[np.int16]
) -> None:
    whole = said(events_of(recognizer.stream(), [pcm]))
    buffer = np.empty(700, np.int16)
    stream, events = recognizer.stream(), []
    for part in cut(pcm, 700):
        buffer[: len(part)] = part
        events += stream.push(buffer[: len(part)])
        assert np.array_equal(buffer[: len(part)], part)
        buffer[:] = -1
    assert [*said(events), *said([stream.finish()])] == whole  # type: ignore[list-item]


def test_what_was_said_before_does_not_change_later(recognizer: Recognizer) -> None:
    stream = recognizer.stream()
    first = stream.push(speech(0.08))[0]
    before = dict(first.probabilities)
    stream.push(speech(1.0, seed=4))
    assert first.probabilities == before


def test_every_n_steps(recognizer: Recognizer, pcm: NDArray[np.int16]) -> None:
    every_step = events_of(recognizer.stream(), [pcm])
    every_fourth = events_of(recognizer.stream(every=4), cut(pcm, 333))
    wanted = [*every_step[3:-1:4], every_step[-1]]
    assert [e.probabilities for e in every_fourth] == [e.probabilities for e in wanted]
    assert [event.seq for event in every_fourth] == list(range(1, len(wanted) + 1))
    with pytest.raises(UsageError, match="got 0"):
        recognizer.stream(every=0)


def test_finishing(recognizer: Recognizer) -> None:
    stream = recognizer.stream("mic1")
    stream.push(speech(0.08))
    assert stream.finish() is not None
    assert stream.finish() is None
    with pytest.raises(UsageError, match="stream mic1 is finished; open a new one"):
        stream.push(speech(0.08))
    with recognizer.stream() as closed:
        pass
    with pytest.raises(UsageError, match="is finished"):
        closed.push(speech(0.08))


def test_a_whole_step_at_the_end_is_not_run_twice(recognizer: Recognizer) -> None:
    *_, last, final = events_of(recognizer.stream(), [speech(0.8)])
    assert final.final
    assert final.probabilities == last.probabilities
    assert final.audio_end_ms == last.audio_end_ms == 800.0


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_nothing_heard(recognizer: Recognizer, dtype: type) -> None:
    stream = recognizer.stream()
    assert stream.push(np.zeros(0, dtype)) == []
    assert stream.finish() is None


def test_one_sample_is_an_utterance(recognizer: Recognizer) -> None:
    (final,) = events_of(recognizer.stream(), [np.ones(1, np.int16)])
    assert final.final
    assert final.audio_end_ms == 0.0625


@pytest.mark.parametrize("level", [0.0, 1e-30, 1.0, 100.0])
def test_silence_and_clipping_have_finite_answers(recognizer: Recognizer, level: float) -> None:
    samples = np.sign(speech(1.0)) * np.float32(level)
    for event in events_of(recognizer.stream(), [samples]):
        assert all(np.isfinite(list(event.probabilities.values())))


BAD = [
    (np.array([0.1, np.nan], np.float32), "sample 1 is nan"),
    (np.array([np.inf, 0.0], np.float64), "sample 0 is inf"),
    (np.array([0.0, -np.inf, 0.0], np.float16), "sample 1 is -inf"),
    (np.array([0.0, 3e38], np.float32), "lie in -1..1"),
    (np.zeros((10, 2), np.float32), r"shape \(10, 2\).*mono"),
    (np.float32(0.0), "one-dimensional"),
    (np.zeros((), np.float32), r"shape \(\)"),
    ([0.0, 0.1], "got list"),
    (b"\0\0", "got bytes"),
    (None, "got NoneType"),
    (np.zeros(4, np.int32), "got int32"),
    (np.zeros(4, np.uint8), "got uint8"),
    (np.zeros(4, np.complex64), "got complex64"),
    (np.zeros(4, ">i2"), "got >i2"),
    (np.zeros(4, bool), "got bool"),
    (np.array(["a"]), "got <U1"),
]


@pytest.mark.parametrize(("bad", "says"), BAD)
def test_bad_samples_are_refused_and_nothing_of_them_is_taken(
    recognizer: Recognizer, pcm: NDArray[np.int16], bad: Any, says: str
) -> None:
    stream, events = recognizer.stream("mic0"), []
    for part in cut(pcm, 4001):
        with pytest.raises(InputError, match=says) as caught:
            stream.push(bad)
        assert str(caught.value).startswith("stream mic0: ")
        events += stream.push(part)
    assert [*said(events), *said([stream.finish()])] == said(  # type: ignore[list-item]
        events_of(recognizer.stream(), [pcm])
    )


def test_a_chunk_that_turns_bad_late_is_refused_from_its_start(recognizer: Recognizer) -> None:
    samples = speech(1.0)
    samples[-1] = np.nan
    stream = recognizer.stream()
    with pytest.raises(InputError, match=f"sample {len(samples) - 1} is nan"):
        stream.push(samples)
    assert stream.finish() is None


class Recorder:
    """A hook that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[StageTiming | StepTiming] = []

    def on_stage(self, timing: StageTiming) -> None:
        self.told.append(timing)

    def on_step(self, timing: StepTiming) -> None:
        self.told.append(timing)


class Raiser(Recorder):
    """A hook that breaks in its third step."""

    def on_step(self, timing: StepTiming) -> None:
        super().on_step(timing)
        if timing.step == 2:
            raise RuntimeError("a hook broke")


def test_hooks_hear_of_every_stage_in_order(recognizer: Recognizer, pcm: NDArray[np.int16]) -> None:
    hook = Recorder()
    events = events_of(recognizer.stream("mic0", hooks=[hook]), cut(pcm, 500))
    assert len(hook.told) == 4 * len(events)
    for step in range(len(events)):
        *stages, whole = hook.told[4 * step : 4 * step + 4]
        assert isinstance(whole, StepTiming)
        assert [s.stage for s in stages if isinstance(s, StageTiming)] == [
            "frontend", "infer", "post",
        ]  # fmt: skip
        assert [timing.step for timing in (*stages, whole)] == [step] * 4
        assert stages[0].start_ns == whole.start_ns
        for first, second in itertools.pairwise(stages):
            assert second.start_ns == first.start_ns + first.duration_ns
        assert sum(stage.duration_ns for stage in stages) == whole.duration_ns
        assert whole.stream_id == "mic0"
        assert whole.deadline_ns == 80_000_000
        assert whole.missed == (whole.duration_ns > whole.deadline_ns)
        assert events[step].latency_ms.total == pytest.approx(whole.duration_ns / 1e6)


def test_a_hook_that_raises_is_reported_once_and_the_stream_goes_on(
    recognizer: Recognizer, pcm: NDArray[np.int16], caplog: pytest.LogCaptureFixture
) -> None:
    first, broken, last = Recorder(), Raiser(), Recorder()
    with caplog.at_level(logging.ERROR):
        events = events_of(recognizer.stream(hooks=[first, broken, last]), [pcm])
    assert said(events) == said(events_of(recognizer.stream(), [pcm]))
    assert len(first.told) == len(last.told) == 4 * len(events)
    assert len(broken.told) == 4 * 3
    assert len(caplog.records) == 1
    assert "step 2" in caplog.records[0].getMessage()
    assert "a hook broke" in caplog.text


def test_notices_share_the_numbering(recognizer: Recognizer) -> None:
    stream = recognizer.stream("mic0")
    started = stream.notice("stream.started", rate_hz=16000)
    (event,) = stream.push(speech(0.08))
    ended = stream.notice("stream.ended")
    assert [started.seq, event.seq, ended.seq] == [1, 2, 3]
    assert started.to_dict()["rate_hz"] == 16000
    assert started.t_mono_ns <= event.t_mono_ns <= ended.t_mono_ns


def test_streams_of_one_recognizer_do_not_disturb_each_other(recognizer: Recognizer) -> None:
    clips = [speech_pcm(SECONDS, seed) for seed in range(4)]
    alone = [said(events_of(recognizer.stream(), [clip])) for clip in clips]
    assert alone[0] != alone[1]
    streams = [recognizer.stream() for _ in clips]
    events: list[list[Event]] = [[] for _ in clips]
    for start in range(0, len(clips[0]), 777):
        for stream, clip, heard in zip(streams, clips, events, strict=True):
            heard += stream.push(clip[start : start + 777])
    for stream, heard in zip(streams, events, strict=True):
        final = stream.finish()
        assert final is not None
        heard.append(final)
    assert [said(heard) for heard in events] == alone


def test_threads_share_a_recognizer(recognizer: Recognizer) -> None:
    clips = [speech_pcm(SECONDS, seed) for seed in range(6)]
    alone = [said(events_of(recognizer.stream(), [clip])) for clip in clips]
    together: dict[int, list[tuple[Any, ...]]] = {}
    gate = threading.Barrier(len(clips))

    def work(index: int) -> None:
        gate.wait()
        for _ in range(3):
            together[index] = said(events_of(recognizer.stream(), cut(clips[index], 1600)))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(clips))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[index] for index in range(len(clips))] == alone


def test_a_stream_may_move_between_threads(recognizer: Recognizer, pcm: NDArray[np.int16]) -> None:
    stream, events = recognizer.stream(), list[Event]()
    for part in cut(pcm, 5000):
        thread = threading.Thread(target=lambda part=part: events.extend(stream.push(part)))
        thread.start()
        thread.join()
    final = stream.finish()
    assert final is not None
    assert said([*events, final]) == said(events_of(recognizer.stream(), [pcm]))


def test_early_events_and_the_final_one_have_their_own_temperatures(
    shared_pack: Path, recognizer: Recognizer, pcm: NDArray[np.int16], tmp_path: Path
) -> None:
    pack = open_pack(shared_pack)
    points = tuple(HeardPoint(s, 50, 0.5, t, 0.1, 0.05) for s, t in ((0.4, 6.0), (4.0, 3.0)))
    calibration = replace(pack.manifest.calibration, heard=points)
    files = {name: pack.read(name) for name in pack.manifest.files}
    write_pack(replace(pack.manifest, calibration=calibration), files, tmp_path / "pack")
    heard = events_of(Recognizer.open(tmp_path / "pack").stream(), [pcm])
    plain = events_of(recognizer.stream(), [pcm])
    whole = calibration.temperature
    for step, (one, other) in enumerate(zip(heard[:-1], plain[:-1], strict=True)):
        ratio = whole / calibration.temperature_after(0.08 * (step + 1))
        powers = np.array(list(other.probabilities.values())) ** ratio
        np.testing.assert_allclose(
            list(one.probabilities.values()), powers / powers.sum(), atol=1e-6
        )
    assert heard[3].confidence < plain[3].confidence
    np.testing.assert_allclose(
        list(heard[-1].probabilities.values()), list(plain[-1].probabilities.values()), atol=1e-6
    )
