"""How much of the states a student guesses: all, none, or only what a clip has on average."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from making.speech import speech

torch = pytest.importorskip("torch", reason="training needs torch")
for package in ("sklearn", "onnx"):
    pytest.importorskip(package)

from benchmarks.guessed_states import guessed, main
from edge_ser.corpora import Clip
from edge_ser.frontend import LogMel, LogMelSpec
from edge_ser.training.bank import FeatureBank
from edge_ser.training.batches import speech_span
from edge_ser.training.distill import StateScale
from edge_ser.training.semantic import EncoderStates

SPEC = LogMelSpec()
RATE_HZ = 25.0  # one state a token
LATE = 2  # tokens between a state and the one that guesses it


class Guesser(torch.nn.Module):
    """Says of each clip what it was told to."""

    def __init__(self, said: list[np.ndarray]) -> None:
        super().__init__()
        self.student = SimpleNamespace(config=SimpleNamespace(step_frames=8))
        self.said = said

    def forward(self, mel: torch.Tensor) -> SimpleNamespace:
        rows = np.zeros((len(self.said), 5, mel.shape[2] // 4), np.float32)
        for row, said in zip(rows, self.said, strict=True):
            row[:, LATE : LATE + len(said)] = said.T[:, : rows.shape[2] - LATE]
        return SimpleNamespace(states=[torch.from_numpy(rows)] * 3)


@pytest.fixture(scope="module")
def heard() -> tuple[FeatureBank, EncoderStates, list[Clip]]:
    rng = np.random.default_rng(0)
    features, values = {}, {}
    for index in range(4):
        clip = Clip(Path(f"{index}.wav"), "emodb", f"emodb:{index}", "anger", "t")
        mel = LogMel(SPEC).clip(np.pad(speech(1.5 + 0.3 * index, index), 8000)).astype(np.float16)
        features[clip] = [[mel]]
        states = rng.normal(3.0, 2.0, (3, 1, 5)) + rng.normal(0.0, 4.0, (3, mel.shape[1] // 4, 5))
        values[clip] = [states.astype(np.float16)]
    states = EncoderStates(values, RATE_HZ, "made up", (1, 2, 3))
    return FeatureBank(SPEC, features), states, list(features)


def shares(
    heard: tuple[FeatureBank, EncoderStates, list[Clip]], said: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    scale = StateScale(np.full((3, 5), 3.0, np.float32), np.full((3, 5), 4.0, np.float32))
    bank, states, clips = heard
    same = EncoderStates(  # the last layer's for all, as the guesser has one answer
        {clip: [np.repeat(value[0][-1:], 3, axis=0)] for clip, value in states.values.items()},
        RATE_HZ, "made up", (1, 2, 3),
    )  # fmt: skip
    return guessed(Guesser(said), bank, same, clips, scale)


def scaled(heard: tuple[FeatureBank, EncoderStates, list[Clip]]) -> list[np.ndarray]:
    return [(heard[1].values[clip][0][-1].astype(np.float32) - 3.0) / 4.0 for clip in heard[2]]


def test_all_and_none(heard: tuple[FeatureBank, EncoderStates, list[Clip]]) -> None:
    moments, means = shares(heard, scaled(heard))
    assert moments == pytest.approx(np.ones(3), abs=1e-5)
    assert means == pytest.approx(np.ones(3), abs=1e-5)
    moments, means = shares(heard, [0.0 * states for states in scaled(heard)])
    assert (moments <= 0.0).all()
    assert (means <= 0.0).all()


def test_a_guess_too_late_by_a_token_is_no_guess(
    heard: tuple[FeatureBank, EncoderStates, list[Clip]],
) -> None:
    moments, _ = shares(heard, [np.roll(states, 1, axis=0) for states in scaled(heard)])
    assert (moments < 0.3).all()


def test_to_know_the_mean_of_the_clips_is_no_guess_of_one(
    heard: tuple[FeatureBank, EncoderStates, list[Clip]],
) -> None:
    """Though all of them lie a deviation off the mean of what was trained on."""
    states = scaled(heard)
    centre = np.concatenate(states).mean(axis=0)
    moments, means = shares(heard, [0.0 * one + centre for one in states])
    assert moments == pytest.approx(np.zeros(3), abs=0.05)
    assert (means < 0.05).all()


def test_what_is_said_outside_of_the_speech_does_not_count(
    heard: tuple[FeatureBank, EncoderStates, list[Clip]],
) -> None:
    said = []
    for clip, states in zip(heard[2], scaled(heard), strict=True):
        begin, end = speech_span(heard[0].clean(clip))
        outside = np.ones(len(states), bool)
        outside[begin // 4 - 1 : end // 4 + 2] = False
        assert outside.any()
        said.append(np.where(outside[:, None], 100.0, states))
    assert shares(heard, said)[0] == pytest.approx(np.ones(3), abs=1e-5)


def test_a_folder_without_a_checkpoint_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "--data", f"emodb={tmp_path}"]) == 2
    assert "checkpoint.safetensors" in capsys.readouterr().err
