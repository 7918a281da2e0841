from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from edge_ser.errors import UsageError
from edge_ser.events import Event
from edge_ser.runtime.hold import Hold
from edge_ser.runtime.smoothing import Smoother, SmoothingSettings
from edge_ser.runtime.utterances import UtteranceSettings


def verdict(at_ms: float, happy: float, *, final: bool = False, utterance: str = "u1") -> Event:
    probabilities = {"happiness": happy, "sadness": 1 - happy}
    label = max(probabilities, key=probabilities.__getitem__)
    return Event("emotion", 1, "s", 0, utterance, final=final, audio_end_ms=at_ms, label=label,
                 confidence=probabilities[label], probabilities=probabilities)  # fmt: skip


def changes(smoother: Smoother, values: list[float], step_ms: float = 80) -> list[dict[str, Any]]:
    found = (smoother.hear(verdict(i * step_ms, value)) for i, value in enumerate(values))
    return [change for change in found if change]


def test_one_odd_verdict_changes_nothing() -> None:
    smoother = Smoother(SmoothingSettings(min_hold_ms=0))
    found = changes(smoother, [0.9] * 10 + [0.1] + [0.9] * 10)
    assert [c["label"] for c in found] == ["happiness"]


def test_patience_counts_verdicts_in_a_row() -> None:
    smoother = Smoother(SmoothingSettings(patience=4, time_constant_ms=0))
    found = changes(smoother, [0.9, 0.9, 0.9])
    assert found == []
    assert smoother.hear(verdict(240, 0.9)) == {
        "label": "happiness", "previous": None, "confidence": 0.9,
        "trigger": "interval", "final": False, "audio_end_ms": 240,
    }  # fmt: skip


def test_a_state_stays_between_the_thresholds() -> None:
    settings = SmoothingSettings(
        enter_threshold=0.7, exit_threshold=0.4, time_constant_ms=0, min_hold_ms=0, patience=1
    )
    smoother = Smoother(settings)
    assert [c["label"] for c in changes(smoother, [0.8, 0.6, 0.45, 0.41, 0.6])] == ["happiness"]
    # Below the exit and nothing above the enter threshold: no state rather than a guess.
    found = smoother.hear(verdict(500, 0.35))
    assert found is not None
    assert (found["label"], found["previous"]) == (None, "happiness")


def test_a_young_state_is_held() -> None:
    settings = SmoothingSettings(min_hold_ms=1000, time_constant_ms=0, patience=1)
    found = changes(Smoother(settings), [0.9] + [0.1] * 20)
    assert [(c["label"], c["audio_end_ms"]) for c in found] == [("happiness", 0), ("sadness", 1040)]


def test_the_final_verdict_counts_at_once_unless_it_abstains() -> None:
    smoother = Smoother()
    event = verdict(900, 0.9, final=True)
    event.abstained = True
    assert smoother.hear(event) is None
    found = smoother.hear(verdict(1000, 0.9, final=True))
    assert found is not None
    assert (found["label"], found["final"]) == ("happiness", True)


def test_long_silence_ends_the_state_once() -> None:
    smoother = Smoother(SmoothingSettings(idle_ms=2000))
    smoother.hear(verdict(1000, 0.9, final=True))
    assert smoother.silence(2900) is None
    found = smoother.silence(3000)
    assert found is not None
    assert found["trigger"] == "silence"
    assert smoother.silence(9000) is None


def test_scores_of_one_utterance_do_not_leak_into_the_next() -> None:
    settings = SmoothingSettings(time_constant_ms=10_000, patience=2, min_hold_ms=0)
    smoother = Smoother(settings)
    changes(smoother, [0.95] * 10)
    second = [smoother.hear(verdict(1000 + 80 * i, 0.05, utterance="u2")) for i in range(2)]
    assert second[1] is not None
    assert second[1]["label"] == "sadness"


def test_thresholds_the_wrong_way_round_are_refused() -> None:
    for settings, word in ((UtteranceSettings, "gate"), (SmoothingSettings, "smoothing")):
        for field in fields(settings):
            with pytest.raises(UsageError, match=f"{word} is told must be finite"):
                settings(**{field.name: float("nan")})
    with pytest.raises(UsageError, match="exit-threshold <= enter-threshold"):
        SmoothingSettings(enter_threshold=0.3, exit_threshold=0.5)


def test_a_forgotten_hold_fails_open() -> None:
    now = [0.0]
    hold = Hold(cool_down_ms=300, clock=lambda: now[0])
    hold.set(True, timeout_ms=3000)
    now[0] = 2.9
    assert hold.state == "held"
    now[0] = 3.1
    assert hold.state == "cool_down"
    now[0] = 3.31
    assert hold.state == "listening"
    assert hold.n_timeouts == 1


def test_who_holds_last_decides() -> None:
    now = [0.0]
    hold = Hold(cool_down_ms=100, clock=lambda: now[0])
    hold.set(True, who="speaker")
    hold.set(True, who="motors")
    hold.set(False, who="speaker")
    assert hold.held
    hold.set(False, who="motors")
    assert hold.state == "cool_down"
    now[0] = 0.2
    assert not hold.held
    hold.set(False, who="nobody")
    assert not hold.held, "a release without a hold starts no cool-down"


def test_a_hold_without_an_end_is_refused() -> None:
    with pytest.raises(UsageError, match="at most 300000"):
        Hold().set(True, timeout_ms=1e9)
