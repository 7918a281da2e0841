"""The rule by which a pack gets its precision."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="converters need torch")
pytest.importorskip("onnx", reason="converters need onnx")

from making.packs import int8_step
from making.students import random_student

from edge_ser.converters.precision import Candidate, choose_precision
from edge_ser.errors import GateMissed
from edge_ser.parity import Gates, Parity

GOOD = Parity(
    clips=200,
    steps=8000,
    agreement=0.99,
    step_agreement=0.99,
    decided_agreement=0.99,
    uar_change=0.001,
    mean_score_error=0.004,
    worst_score_error=0.1,
    worst_clip=0,
)
BAD = replace(GOOD, agreement=0.5)


@pytest.fixture(scope="module")
def candidates() -> list[Candidate]:
    model = int8_step(random_student())
    return [Candidate(name, model) for name in ("int8", "mixed", "fp32")]


@pytest.mark.parametrize(
    ("parities", "times", "chosen"),
    [
        ((GOOD, GOOD, GOOD), (200, 300, 900), "int8"),
        ((GOOD, GOOD, GOOD), (200, 190, 900), "int8"),  # as good as equal
        ((GOOD, GOOD, GOOD), (300, 200, 900), "mixed"),
        ((BAD, GOOD, GOOD), (200, 300, 900), "mixed"),
        ((GOOD, GOOD, GOOD), (500, 500, 100), "fp32"),
    ],
)
def test_the_fastest_that_passes(
    candidates: list[Candidate],
    parities: tuple[Parity, ...],
    times: tuple[float, ...],
    chosen: str,
) -> None:
    names = [candidate.precision for candidate in candidates]
    found = choose_precision(
        candidates,
        dict(zip(names, parities, strict=True)),
        dict(zip(names, times, strict=True)),
        Gates(),
    )
    assert found.precision == chosen
    missed = {row["precision"]: bool(row["missed"]) for row in found.candidates}
    assert missed == {n: p is BAD for n, p in zip(names, parities, strict=True)}


def test_float_alone_is_no_answer(candidates: list[Candidate]) -> None:
    parities = {"int8": BAD, "mixed": BAD, "fp32": GOOD}
    with pytest.raises(GateMissed, match="--precision fp32"):
        choose_precision(candidates, parities, dict.fromkeys(parities, 1.0), Gates())


def test_ignored_gates_still_tell_of_every_form(candidates: list[Candidate]) -> None:
    parities = {"int8": BAD, "mixed": BAD, "fp32": GOOD}
    times = {"int8": 2.0, "mixed": 1.0, "fp32": 1.0}
    found = choose_precision(candidates, parities, times, Gates(), ignore_gates=True)
    assert found.precision == "int8"
    assert "misses gates that were ignored; mixed 1 µs and misses" in found.reason
    assert [row["precision"] for row in found.candidates] == list(parities)
