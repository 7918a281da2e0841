from __future__ import annotations

import json
import math

import numpy as np
import pytest
from voices import LoudnessGate, silence, voice

from edge_ser.errors import InputError, UsageError
from edge_ser.events import Event
from edge_ser.runtime import Recognizer
from edge_ser.runtime.gate import LevelGate, SileroDetector, SpeechGate
from edge_ser.runtime.live import LiveStream
from edge_ser.runtime.live_source import BLOCK_MS
from edge_ser.runtime.utterances import Segmenter, UtteranceSettings


def told(events: list[Event]) -> list[str]:
    """What chunking must not change: everything but clocks."""
    rows = []
    for event in events:
        row = event.to_dict()
        row.pop("t_mono_ns")
        row.pop("latency_ms", None)
        rows.append(json.dumps(row))
    return rows


def stream_all(live: LiveStream, pcm: np.ndarray, size: int) -> list[Event]:
    events: list[Event] = []
    for start in range(0, len(pcm), size):
        events += live.push(pcm[start : start + size])
    return events + live.finish()


@pytest.fixture(scope="module")
def talk() -> np.ndarray:
    return np.concatenate([silence(1.0), voice(1.3), silence(1.2), voice(0.9, 3), silence(0.8)])


@pytest.mark.parametrize("size", [1, 37, 160, 512, 1280, 10**6])
def test_chunks_do_not_matter(recognizer: Recognizer, talk: np.ndarray, size: int) -> None:
    if size == 1:
        talk = talk[: 16000 * 2]
    whole = stream_all(LiveStream(recognizer, gate=LoudnessGate()), talk, 1000)
    cut = stream_all(LiveStream(recognizer, gate=LoudnessGate()), talk, size)
    assert told(cut) == told(whole)
    assert any(event.final for event in whole)


def test_utterances_are_framed(recognizer: Recognizer, talk: np.ndarray) -> None:
    events = stream_all(LiveStream(recognizer, gate=LoudnessGate()), talk, 320)
    frame = [e.type for e in events if e.type.startswith("utterance") or e.final]
    assert frame == ["utterance.start", "emotion", "utterance.end"] * 2
    assert [e.seq for e in events] == list(range(1, len(events) + 1))
    starts = [e.detail["audio_start_ms"] for e in events if e.type == "utterance.start"]
    ends = [e.detail["audio_end_ms"] for e in events if e.type == "utterance.end"]
    # A window is 32 ms and the padding 100 ms.
    assert starts == pytest.approx([900, 3400], abs=40)
    assert ends == pytest.approx([2400, 4500], abs=70)
    for event in events:
        if event.type == "emotion":
            assert math.isclose(sum(event.probabilities.values()), 1, abs_tol=1e-6)
            assert event.speech_probability is not None


def test_an_utterance_scores_as_if_it_were_alone(recognizer: Recognizer, talk: np.ndarray) -> None:
    events = stream_all(LiveStream(recognizer, gate=LoudnessGate()), talk, 480)
    second = [e for e in events if e.type == "emotion" and e.utterance_id == "u2"]
    begin = round(second[0].audio_start_ms * 16)
    with recognizer.stream() as fresh:
        alone = fresh.push(talk[begin : begin + 16000])
    together = [e for e in second if not e.final][: len(alone)]
    assert len(alone) == 12
    assert [e.probabilities for e in together] == [e.probabilities for e in alone]


def test_the_final_event_does_not_hear_the_silence_behind(recognizer: Recognizer) -> None:
    speech = np.concatenate([silence(0.5), voice(1.0)])
    finals = []
    for tail in (1.0, 3.0):
        live = LiveStream(recognizer, gate=LoudnessGate())
        events = stream_all(live, np.concatenate([speech, silence(tail)]), 320)
        finals.append(next(e for e in events if e.final))
    assert finals[0].probabilities == finals[1].probabilities
    assert finals[0].audio_end_ms == finals[1].audio_end_ms == pytest.approx(1600, abs=70)


def test_silence_does_not_run_the_model(recognizer: Recognizer) -> None:
    steps: list[int] = []

    class Count:
        def on_stage(self, timing: object) -> None:
            pass

        def on_step(self, timing: object) -> None:
            steps.append(1)

    gate = SpeechGate()
    live = LiveStream(recognizer, gate=gate, hooks=[Count()])
    live.push(silence(20))
    assert steps == []
    assert gate.n_detected < 0.1 * gate.n_windows, "the detector sleeps too"


def test_long_speech_is_cut_without_a_gap(recognizer: Recognizer) -> None:
    settings = UtteranceSettings(max_speech_ms=1000)
    live = LiveStream(recognizer, gate=LoudnessGate(), utterances=settings)
    events = stream_all(live, np.concatenate([voice(3.3), silence(1)]), 700)
    starts = [e.detail for e in events if e.type == "utterance.start"]
    ends = [e.detail for e in events if e.type == "utterance.end"]
    assert [e["reason"] for e in ends] == ["max_speech"] * 3 + ["silence"]
    assert [s["audio_start_ms"] for s in starts[1:]] == [e["audio_end_ms"] for e in ends[:-1]]


def test_steps_end_where_blocks_of_the_microphone_do(recognizer: Recognizer) -> None:
    settings = UtteranceSettings(max_speech_ms=1000)
    live = LiveStream(recognizer, gate=LoudnessGate(), utterances=settings)
    talk = np.concatenate([silence(0.713), voice(2.2), silence(0.651), voice(0.9), silence(1)])
    steps = [e for e in stream_all(live, talk, 640) if e.type == "emotion" and not e.final]
    assert len(steps) > 30
    assert {e.audio_end_ms % BLOCK_MS for e in steps} == {0}


def test_an_utterance_cut_in_a_pause_does_not_go_on() -> None:
    segmenter = Segmenter(UtteranceSettings(max_speech_ms=1000), 16000, grid=640)
    cuts = []
    for number, p in enumerate([0.9] * 26 + [0.1] * 8 + [0.9] * 20):
        cuts += segmenter.window(p, 512 * number, 512 * (number + 1))
    assert [(c.begins, c.reason) for c in cuts] == [
        (True, "speech"), (False, "max_speech"), (True, "speech"),
    ]  # fmt: skip
    assert cuts[1].sample == 26 * 512 + 1600
    assert cuts[2].sample == (34 * 512 - 1600) // 640 * 640


def test_a_click_is_no_utterance(recognizer: Recognizer) -> None:
    live = LiveStream(recognizer, gate=LoudnessGate())
    events = stream_all(live, np.concatenate([silence(1), voice(0.05), silence(2)]), 512)
    assert [e.type for e in events] == ["stream.ended"]


def test_a_gap_ends_the_utterance_and_moves_the_clock(recognizer: Recognizer) -> None:
    live = LiveStream(recognizer, gate=LoudnessGate())
    live.push(voice(1.0))
    events = live.gap(8000, "overflow")
    assert [e.type for e in events if e.type != "state.change"] == [
        "emotion", "utterance.end", "audio.gap",
    ]  # fmt: skip
    assert events[-1].detail["missing_ms"] == 500
    assert live.audio_ms == 1500
    later = stream_all(live, np.concatenate([silence(0.5), voice(1.0), silence(1)]), 512)
    start = next(e for e in later if e.type == "utterance.start")
    assert 1900 - BLOCK_MS <= start.detail["audio_start_ms"] <= 1900


def test_nothing_is_heard_while_held(recognizer: Recognizer) -> None:
    live = LiveStream(recognizer, gate=LoudnessGate())
    live.push(voice(1.0))
    events = live.hold(True)
    assert events[-1].type == "hold.start"
    assert "utterance.end" in [e.type for e in events]
    assert [e for e in live.push(voice(2.0)) if e.type != "state.change"] == []
    assert live.hold(True) == []
    assert [e.type for e in live.hold(False)] == ["hold.end"]
    assert "utterance.start" in [e.type for e in live.push(voice(1.0))]


def test_bad_samples_are_refused_and_nothing_of_them_taken(recognizer: Recognizer) -> None:
    live = LiveStream(recognizer, gate=LoudnessGate())
    with pytest.raises(InputError, match="sample 3 is nan"):
        live.push(np.array([0, 0, 0, np.nan, 0], np.float32))
    assert live.audio_ms == 0
    live.finish()
    with pytest.raises(UsageError, match="is finished"):
        live.push(silence(0.1))


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="0 < neg-threshold <= threshold < 1, got 0.6 and 0.5"):
        UtteranceSettings(threshold=0.5, neg_threshold=0.6)
    with pytest.raises(UsageError, match="leaves no room"):
        UtteranceSettings(max_speech_ms=300)


def test_a_dip_between_the_thresholds_does_not_end_an_utterance() -> None:
    segmenter = Segmenter(UtteranceSettings(min_silence_ms=100), 16000)
    cuts = []
    for number, p in enumerate([0.9] * 10 + [0.4] * 20 + [0.9] * 3 + [0.1] * 10):
        cuts += segmenter.window(p, 512 * number, 512 * (number + 1))
    assert [(c.begins, c.reason) for c in cuts] == [(True, "speech"), (False, "silence")]
    assert cuts[1].sample == 33 * 512 + 1600


def test_the_detector_tells_noise_from_voice_and_keeps_its_own_state() -> None:
    quiet, loud = silence(1.0, level=0.05), voice(1.0)
    first, second = SileroDetector(), SileroDetector()
    noise = [first.probability(quiet[i : i + 512]) for i in range(0, 15000, 512)]
    spoken = [second.probability(loud[i : i + 512]) for i in range(0, 15000, 512)]
    assert max(noise) < 0.3
    assert max(spoken) > 0.5
    second.reset()
    assert [second.probability(loud[i : i + 512]) for i in range(0, 15000, 512)] == spoken


def test_the_level_gate_learns_a_loud_room() -> None:
    gate = LevelGate(512, 16000)
    room = silence(20, level=0.02)
    loud = [gate.is_loud(room[i : i + 512]) for i in range(0, len(room) - 512, 512)]
    assert loud[0]
    # Random noise leaves its own band now and then, and is looked at for a while.
    assert np.mean(loud[60:]) < 0.2
    louder = 0.05 * np.random.default_rng(2).standard_normal(512).astype(np.float32)
    assert gate.is_loud(louder), "8 dB above the room"
