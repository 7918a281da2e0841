"""Streams that step together say what each says alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from making.speech import speech_pcm

from edge_ser.errors import InputError, UsageError
from edge_ser.runtime import Recognizer, StageTiming, StepTiming

STEP = 1280


@pytest.fixture(scope="module")
def int8_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch", reason="needs torch, which makes the pack")
    pytest.importorskip("onnx", reason="needs torch, which makes the pack")
    from making.packs import write_tiny_int8_pack

    out = tmp_path_factory.mktemp("packs") / "tiny-int8"
    write_tiny_int8_pack(out)
    return out


@pytest.fixture(scope="module", params=["one model call", "one after the other"])
def recognizer(request: pytest.FixtureRequest) -> Recognizer:
    """A model with an open number of streams, and one made for a single stream."""
    batched = request.param == "one model call"
    return Recognizer.open(request.getfixturevalue("int8_pack" if batched else "shared_pack"))


def probabilities(events):
    return [list(event.probabilities.values()) for event in events]


def alone(recognizer, pcm):
    stream = recognizer.stream()
    return stream.push(pcm), stream.finish()


def test_a_group_says_what_single_streams_say(recognizer):
    clips = [speech_pcm(1.6, seed) for seed in range(4)]
    group = recognizer.group(4)
    together = group.push(clips)
    for index, clip in enumerate(clips):
        single, final = alone(recognizer, clip)
        assert len(together[index]) == len(single) == len(clip) // STEP
        np.testing.assert_allclose(probabilities(together[index]), probabilities(single), atol=1e-4)
        for mine, other in zip(together[index], single, strict=True):
            assert mine.stream_id == f"stream{index}"
            assert (mine.seq, mine.audio_end_ms) == (other.seq, other.audio_end_ms)
        ended = group.finish(index)
        assert ended is not None
        assert ended.final
        np.testing.assert_allclose(probabilities([ended]), probabilities([final]), atol=1e-4)
        assert group.finish(index) is None


def test_any_chunks_of_any_stream_and_resting_ones(recognizer):
    """Streams far apart in time: most rest while one steps, and are not disturbed by it."""
    clips = [speech_pcm(1.2 + 0.3 * seed, seed) for seed in range(3)]
    rng = np.random.default_rng(1)
    group = recognizer.group(["a", "b", "c"])
    taken, events = [0, 0, 0], [[], [], []]
    while any(position < len(clip) for position, clip in zip(taken, clips, strict=True)):
        sizes = rng.integers(0, 3000, size=3) * rng.integers(0, 2, size=3)
        chunks = [c[t : t + n] for c, t, n in zip(clips, taken, sizes.tolist(), strict=True)]
        taken = [t + len(chunk) for t, chunk in zip(taken, chunks, strict=True)]
        for known, new in zip(events, group.push(chunks), strict=True):
            known += new
    for index, clip in enumerate(clips):
        single, final = alone(recognizer, clip)
        ended = group.finish(index)
        assert ended is not None
        np.testing.assert_allclose(
            probabilities([*events[index], ended]), probabilities([*single, final]), atol=1e-4
        )


def test_one_stream_begins_anew(recognizer):
    clips = [speech_pcm(0.8, seed) for seed in (5, 6)]
    group = recognizer.group(2)
    group.push([clips[0], clips[0]])
    group.finish(0)
    group.restart(0, "u2", len(clips[0]))
    first, second = group.push([clips[1], clips[1]])
    fresh, _ = alone(recognizer, clips[1])
    longer, _ = alone(recognizer, np.concatenate(clips))
    np.testing.assert_allclose(probabilities(first), probabilities(fresh), atol=1e-4)
    np.testing.assert_allclose(probabilities(second), probabilities(longer[10:]), atol=1e-4)
    assert {event.utterance_id for event in first} == {"u2"}


def test_bad_input_is_refused_before_anything_is_taken(recognizer):
    group = recognizer.group(2)
    good = speech_pcm(0.08)
    with pytest.raises(UsageError, match="2 streams need as many chunks, got 1"):
        group.push([good])
    with pytest.raises(InputError, match="stream1.*NaN|stream1"):
        group.push([good, np.full(STEP, np.nan, np.float32)])
    assert [len(events) for events in group.push([good, good])] == [1, 1]
    assert group.finish(0) is not None
    with pytest.raises(UsageError, match="stream0 is finished"):
        group.push([good, good])
    quiet = good[:0]
    assert [len(events) for events in group.push([quiet, good])] == [0, 1]
    for names in ([], ["a", "a"]):
        with pytest.raises(UsageError, match="names of their own"):
            recognizer.group(names)


def test_hooks_hear_of_every_stream(recognizer):
    class Recorder:
        def __init__(self) -> None:
            self.steps: list[tuple[str, int]] = []

        def on_stage(self, timing: StageTiming) -> None:
            assert timing.duration_ns >= 0

        def on_step(self, timing: StepTiming) -> None:
            self.steps.append((timing.stream_id, timing.step))

    hook = Recorder()
    recognizer.group(2, hooks=[hook]).push([speech_pcm(0.16)] * 2)
    assert hook.steps == [("stream0", 0), ("stream1", 0), ("stream0", 1), ("stream1", 1)]
