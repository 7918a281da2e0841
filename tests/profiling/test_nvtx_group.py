"""NVTX ranges of groups, and of streams that step in threads of their own."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from edge_ser.runtime import Recognizer
from edge_ser.runtime.hooks.nvtx_ranges import with_nvtx_ranges

STEP = 1280


class Domain:
    """Keeps what a tool would be shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, int]] = []
        self.events: list[SimpleNamespace] = []
        self.open = 0

    def get_event_attributes(self, **values) -> SimpleNamespace:
        return SimpleNamespace(**values)

    def push_range(self, event: SimpleNamespace) -> None:
        self.open += 1
        self.events.append(event)
        self.shown.append((event.category, event.payload))

    def pop_range(self) -> None:
        self.open -= 1


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> Domain:
    made, nvtx = Domain(), ModuleType("nvtx")
    nvtx.get_domain = lambda name: made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nvtx", nvtx)
    return made


@pytest.fixture(scope="module")
def recognizer(pack_path: Path) -> Recognizer:
    return Recognizer.open(pack_path)


def test_a_group_has_ranges_and_says_the_same(recognizer, voice, domain):
    chunks = [voice[: 2 * STEP], voice[5 * STEP : 7 * STEP + 9]]
    plain, ranged = recognizer.group(2), with_nvtx_ranges(recognizer).group(2)
    assert ranged.at_once == plain.at_once
    for mine, other in zip(ranged.push(chunks), plain.push(chunks), strict=True):
        assert [e.probabilities for e in mine] == [e.probabilities for e in other]
    stages = ("stage/frontend", "stage/infer")
    assert domain.shown == [(stage, step) for step in range(2) for stage in stages]
    assert ranged.finish(1).probabilities == plain.finish(1).probabilities
    assert domain.shown[4:] == [(stage, 2) for stage in stages]
    assert domain.open == 0
    ranged.restart(1, "u2", 0)
    plain.restart(1, "u2", 0)
    again = [group.push([voice[:0], voice[:STEP]])[1][0] for group in (ranged, plain)]
    assert again[0].probabilities == again[1].probabilities


def test_a_stream_writes_no_number_into_the_ranges_of_another(recognizer, voice, domain):
    ranged = with_nvtx_ranges(recognizer)
    first, second = ranged.stream("a"), ranged.stream("b")
    first.push(voice[: 3 * STEP])
    events = list(domain.events)
    second.push(voice[:STEP])
    assert {event.payload for event in events} == {2}, "still that of the first's last step"
    assert domain.shown[-1] == ("stage/infer", 0)
