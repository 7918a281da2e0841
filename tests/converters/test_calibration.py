"""Which clips ranges come from, and what each method makes of the same activations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the step graph comes from a torch student")
pytest.importorskip("onnx", reason="the converter needs onnx")

from making.students import mel_of, random_student

from edge_ser.calibration import activation_ranges
from edge_ser.calibration.clips import choose_clips, part_speakers
from edge_ser.converters.forms import FloatForm
from edge_ser.converters.step_graph import build_step, state_specs
from edge_ser.converters.weights import fold_student
from edge_ser.corpora import Clip
from edge_ser.errors import InputError

LABELS = ("anger", "neutral")


def clips(corpus: str, speakers: int) -> list[Clip]:
    return [
        Clip(Path(f"{corpus}{n}{label}{take}.wav"), corpus, f"{corpus}:{n}", label, "")
        for n in range(speakers)
        for label in LABELS
        for take in range(3)
    ]


def test_ranges_and_parity_never_share_a_speaker() -> None:
    everything = [*clips("emodb", 5), *clips("ravdess", 10)]
    for seed in range(20):
        ranges, parity, apart = part_speakers(everything, seed)
        assert apart
        first, second = ({clip.speaker for clip in part} for part in (ranges, parity))
        assert not first & second
        assert first | second == {clip.speaker for clip in everything}
        assert sorted(name.split(":")[0] for name in first) == ["emodb"] * 2 + ["ravdess"] * 4


def test_one_speaker_is_told_to_be_on_both_sides() -> None:
    alone = clips("emodb", 1)
    assert part_speakers(alone) == (tuple(alone), tuple(alone), False)


def test_the_chosen_clips_are_balanced_and_the_same_again() -> None:
    everything = [*clips("emodb", 5), *clips("ravdess", 10)]
    chosen = choose_clips(everything, 20, seed=3)
    kinds = [(clip.corpus, clip.label) for clip in chosen]
    assert {kinds.count(kind) for kind in kinds} == {5}
    assert len({clip.speaker for clip in chosen if clip.corpus == "emodb"}) == 5
    assert choose_clips(everything, 20, seed=3) == chosen
    assert choose_clips(everything, 20, seed=4) != chosen
    with pytest.raises(InputError, match="all 3 calibration clips are anger"):
        choose_clips([clip for clip in everything if clip.label == "anger"][:3], 20)


def test_a_percentile_cuts_one_in_ten_thousand_and_minmax_none() -> None:
    model = build_step(fold_student(random_student()), FloatForm())
    mel = mel_of(8.0)[0].numpy()
    mel[3, 77] = 400.0  # one value of 51,200 far from all others
    found = {
        method: activation_ranges(model.onnx, state_specs(model), ["mel"], [mel], 8, method)
        for method in ("minmax", "percentile", "entropy")
    }
    assert found["minmax"].ranges["mel"] == (mel.min(), 400.0)
    low, high = found["percentile"].ranges["mel"]
    outside = np.mean((mel < low) | (mel > high))
    assert 0.0 < outside < 3e-4
    assert high < 100.0
    assert found["entropy"].ranges["mel"][1] < 400.0
