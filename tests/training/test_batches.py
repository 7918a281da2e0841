"""Batches: fixed length, balanced, the clock of speech right; padding that changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from making.speech import speech

torch = pytest.importorskip("torch", reason="training needs torch")

from edge_ser.corpora import Clip
from edge_ser.frontend import LogMel, LogMelSpec
from edge_ser.training.bank import FeatureBank
from edge_ser.training.batches import ClipBatches, padded_clips, speech_span
from edge_ser.training.student import StudentLoss

SPEC = LogMelSpec()
LABELS = ("anger", "fear", "neutral")


@pytest.fixture(scope="module")
def bank() -> FeatureBank:
    features = {}
    for index in range(9):
        clip = Clip(Path(f"{index}.wav"), "emodb", f"emodb:{index % 3}", LABELS[index % 3], "t")
        samples = np.concatenate([np.zeros(4000, np.float32), speech(1.0 + 0.4 * index, index)])
        features[clip] = [[LogMel(SPEC).clip(samples).astype(np.float16)]]
    return FeatureBank(SPEC, features)


def batches(bank: FeatureBank, **changes: int) -> ClipBatches:
    settings = {"frames": 256, "step_frames": 8, "batch_size": 3, **changes}
    return ClipBatches(bank, list(bank.features), LABELS, **settings)


def test_every_batch_has_the_shape_it_says(bank: FeatureBank) -> None:
    drawn = list(batches(bank).epoch(np.random.default_rng(0)))
    assert len(drawn) == len(batches(bank)) == 3
    for batch in drawn:
        assert batch.mel.shape == (3, 64, 256)
        assert batch.since.shape == (3, 32)
        assert torch.isfinite(batch.mel).all()
        assert torch.equal(batch.target.sum(1), torch.ones(3))
        for row, clip in zip(batch.target, batch.clips, strict=True):
            assert LABELS[int(row.argmax())] == clip.label
        assert torch.equal(batch.since.diff(dim=1), torch.ones(3, 31, dtype=torch.int64))


def test_a_clip_of_another_class_is_heard_but_teaches_no_label(bank: FeatureBank) -> None:
    few = LABELS[:2]
    drawn = ClipBatches(
        bank, list(bank.features), few, frames=256, step_frames=8, batch_size=9
    ).epoch(np.random.default_rng(0))
    batch = next(drawn)
    labelled = torch.tensor([clip.label in few for clip in batch.clips])
    assert labelled.any()
    assert not labelled.all()
    assert torch.equal(batch.target.sum(1), labelled.float())
    logits = torch.randn(9, 32, 2)
    loss = StudentLoss(smoothing=0.1)
    whole = loss.of_logits(logits, batch.target, batch.since)
    only = loss.of_logits(logits[labelled], batch.target[labelled], batch.since[labelled])
    assert whole.item() == pytest.approx(only.item(), rel=1e-5)


def test_the_same_seed_draws_the_same(bank: FeatureBank) -> None:
    first = list(batches(bank).epoch(np.random.default_rng(4)))
    second = list(batches(bank).epoch(np.random.default_rng(4)))
    other = list(batches(bank).epoch(np.random.default_rng(5)))
    assert all(torch.equal(a.mel, b.mel) for a, b in zip(first, second, strict=True))
    assert not all(torch.equal(a.mel, b.mel) for a, b in zip(first, other, strict=True))


def test_drawing_does_not_change_the_features(bank: FeatureBank) -> None:
    before = {clip: bank.clean(clip).copy() for clip in bank.features}
    list(batches(bank).epoch(np.random.default_rng(0)))
    assert all(np.array_equal(bank.clean(clip), array) for clip, array in before.items())


def test_speech_is_found_in_silence() -> None:
    samples = np.zeros(48000, np.float32)
    samples[16000:32000] = speech(1.0, 2)
    begin, end = speech_span(LogMel(SPEC).clip(samples).astype(np.float16))
    assert 95 <= begin <= 135
    assert 165 <= end <= 206
    flat = np.zeros((64, 80), np.float16)
    assert speech_span(flat) == (0, 80)


def test_padding_tells_where_each_clip_ends(bank: FeatureBank) -> None:
    features = [bank.clean(clip) for clip in bank.features]
    mel, last = padded_clips(features, SPEC.silence, 8)
    for row, index, feature in zip(mel.numpy(), last, features, strict=True):
        assert index == feature.shape[1] // 8 - 1
        assert np.array_equal(row[:, : feature.shape[1]], feature.astype(np.float32))
        assert np.allclose(row[:, feature.shape[1] :], SPEC.silence)


ONSET, END = 60, 130


@pytest.mark.parametrize("frames", [256, 96])  # the clip has room to spare, or must be cropped
def test_a_row_tells_which_moment_of_its_clip_it_shows(frames: int) -> None:
    """Each frame carries its own number, so what a row shows can be read off."""
    clip = Clip(Path("counting.wav"), "emodb", "emodb:1", "anger", "t")
    voices = []
    for voice in range(2):
        mel = np.full((64, 200 + 40 * voice), -4.0, np.float16)
        mel[2:, ONSET:END] = 4.0
        # Small and exact in float16, so that bands 2 to 63 decide what is loud.
        mel[0], mel[1] = np.arange(mel.shape[1]) / 1024, 0.5 + voice / 4
        voices.append([mel])
    drawn = ClipBatches(
        FeatureBank(SPEC, {clip: voices}), [clip], LABELS,
        frames=frames, step_frames=8, batch_size=1, n_masks=0,
    )  # fmt: skip
    rng = np.random.default_rng(1)
    for _ in range(20):
        (batch,) = drawn.epoch(rng)
        mel, origin = batch.mel[0].numpy(), int(batch.origin[0])
        shown = np.flatnonzero(mel[1] >= 0.5)
        assert (mel[1, shown] == 0.5 + batch.voices[0] / 4).all()
        moments = mel[0, shown] * 1024
        assert np.array_equal(moments, origin + shown)
        assert moments.min() >= ONSET - 24
        assert moments.max() < END + 24
        if frames == 256:
            assert len(shown) == END - ONSET + 2 * 24
        else:
            assert len(shown) == frames
        begun = max(0, ONSET - origin)  # the frame of the row at which speech begins
        assert int(batch.since[0, begun // 8]) == 0
