"""How far apart two forms are, the gates they are held to, and ``edge-ser parity``."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from edge_ser.cli import main
from edge_ser.pack import Pack
from edge_ser.parity import Gates, compare, missed_gates

LABELS = ("anger", "neutral", "sadness")


def clips(n: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((5, 3)) * 4 for _ in range(n)]


def test_figures_of_two_forms() -> None:
    first = clips(4)
    second = [logits.copy() for logits in first]
    second[2][-1] = np.roll(first[2][-1], 1)  # one final verdict turns
    truth: list[int | None] = [int(logits[-1].argmax()) for logits in first]
    found = compare(first, second, truth, LABELS, 1.0)
    assert (found.clips, found.steps) == (4, 20)
    assert found.agreement == 0.75
    assert found.step_agreement == 0.95
    assert found.uar_change is not None
    assert found.uar_change < 0
    assert found.worst_clip == 2
    assert found.worst_score_error > 0.1
    assert compare(first, second, [None] * 4, LABELS, 1.0).uar_change is None
    # Only the clips whose label is known count for the UAR.
    some = [truth[0], truth[1], None, None]
    assert compare(first, second, some, LABELS, 1.0).uar_change == 0.0


def test_shares_of_clips_gate_only_where_there_are_enough() -> None:
    first = clips(120)
    second = [logits.copy() for logits in first]
    for index in range(0, 120, 10):  # a tenth of the verdicts, a fiftieth of the steps
        second[index][-1] = np.roll(first[index][-1], 1)
    loose = Gates(mean_score_error=1.0, uar_change=1.0, worst_score_error=1.0)
    truth: list[int | None] = [None] * 120
    many = compare(first, second, truth, LABELS, 1.0)
    assert missed_gates("x", many, loose) == ["x: label agreement 0.900 of clips < 0.95"]
    few = compare(first[:50], second[:50], truth[:50], LABELS, 1.0)
    assert missed_gates("x", few, loose) == []


def test_near_ties_of_a_few_clips_miss_nothing_but_verdicts_that_turn_do() -> None:
    """Two labels within what the gates allow as an error are one label to a few clips."""
    tied = np.log([[0.36, 0.34, 0.30]] * 10)
    turned = np.log([[0.34, 0.36, 0.30]] * 10)
    sure = np.log([[0.90, 0.05, 0.05]] * 40)
    none: list[int | None] = [None]
    found = compare([np.vstack([tied, sure])], [np.vstack([turned, sure])], none, LABELS, 1.0)
    assert found.step_agreement == 0.8
    assert found.decided_agreement == 1.0
    assert missed_gates("x", found, Gates()) == []
    lost = np.roll(sure[:4], 1, axis=1)
    found = compare([sure], [np.vstack([lost, sure[4:]])], none, LABELS, 1.0)
    assert found.decided_agreement == 0.9
    told = "x: label agreement 0.900 of decided steps < 0.95"
    assert told in missed_gates("x", found, Gates())
    assert compare([tied], [turned], none, LABELS, 1.0).decided_agreement == 1.0


def test_what_goes_wrong_in_a_few_steps_of_many_misses() -> None:
    first = [np.log(np.tile([[0.9, 0.05, 0.05]], (20, 1))) for _ in range(120)]
    second = [logits.copy() for logits in first]
    second[7][:3] = np.log([[0.5, 0.25, 0.25]])  # one clip begins from a state that is not its own
    found = compare(first, second, [None] * 120, LABELS, 1.0)
    assert (found.agreement, found.mean_score_error) == (1.0, 0.0)
    assert missed_gates("x", found, Gates()) == ["x: worst score error 0.400 > 0.3"]


def test_scores_that_are_no_numbers_miss() -> None:
    first = clips(2)
    second = [logits * np.nan for logits in first]
    found = compare(first, second, [None, None], LABELS, 1.0)
    assert any("mean score error nan" in text for text in missed_gates("x", found, Gates()))


def parity(capsys: pytest.CaptureFixture[str], pack: Pack, *flags: str) -> tuple[int, Any, str]:
    status = main(["parity", str(pack.path), "--json", *flags])
    said = capsys.readouterr()
    return status, json.loads(said.out) if said.out else None, said.err


def test_what_goes_to_tensorrt_through_onnxruntime(
    pack: Pack, capsys: pytest.CaptureFixture[str]
) -> None:
    names = "onnxruntime:fp32,onnxruntime:tensorrt"
    status, report, err = parity(capsys, pack, "--backends", names)
    assert status == 0, err
    assert report["backends"] == [
        "onnxruntime fp32 (onnxruntime:fp32)",
        "onnxruntime int8 (onnxruntime:tensorrt)",
    ]
    assert report["worst_clip"].endswith("demo.wav")
    assert 0 < report["mean_score_error"] < report["worst_score_error"] < 1
    status, _, err = parity(capsys, pack, "--backends", names, "--max-mean-error", "0.000001")
    assert status == 3
    assert "onnxruntime int8 (onnxruntime:tensorrt): mean score error" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--backends", "onnxruntime"], "--backends takes two"),
        (["--backends", "onnxruntime,what"], "unknown backend 'what'"),
        (["--backends", "onnxruntime,onnxruntime:int4"], "unknown precision 'int4'"),
        (["--backends", "onnxruntime,onnxruntime", "--limit", "0"], "--limit must be 1 or more"),
        (["--backends", "onnxruntime,onnxruntime", "--data", "x"], "write it as corpus=DIR"),
    ],
)
def test_bad_input(
    pack: Pack, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    status, _, err = parity(capsys, pack, *flags)
    assert status == 2
    assert message in err
