"""The student over whole clips: causal, static, strict about its configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="models need torch")

from making.students import TINY, mel_of, random_student

from edge_ser.models import StudentConfig


@torch.no_grad()
def test_shapes() -> None:
    student = random_student()
    out = student(torch.cat([mel_of(1.6), mel_of(1.6, 5)]))
    assert out.logits.shape == (2, 20, 6)
    assert [part.shape for part in out.semantic] == [(2, TINY.trunk, 40)] * 3
    assert out.pooled.shape == (2, TINY.fused, 20)
    assert torch.isfinite(out.logits).all()


@torch.no_grad()
def test_no_step_sees_the_future() -> None:
    student, mel = random_student(), mel_of(2.4)
    whole = student(mel).logits
    for steps in (1, 7, 20):
        cut = student(mel[..., : 8 * steps]).logits
        torch.testing.assert_close(cut, whole[:, :steps], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_silence_before_the_stream_is_what_the_stem_expects() -> None:
    """A clip that begins with digital silence differs only by the start-up of its upper layers;
    the stem itself sees no edge."""
    student = random_student()
    silence = torch.full((1, 64, 80), student.silence)
    x = (silence - student.mel_mean[:, None]) * student.mel_scale[:, None]
    before = ((student.silence - student.mel_mean) * student.mel_scale)[None, :, None]
    stem = student.shallow[0](x, before)
    torch.testing.assert_close(stem, stem[..., :1].expand_as(stem), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_every_part_matters() -> None:
    student, mel = random_student(), mel_of(2.4)
    whole = student(mel).logits
    for name in ("middle_attention", "high_attention"):
        changed = random_student()
        getattr(changed, name).key_value.weight.zero_()
        assert (changed(mel).logits - whole).abs().max() > 1e-3
    short = student(mel, context=2).logits
    assert (short - whole).abs().max() > 1e-4
    assert torch.equal(student(mel, context=TINY.context).logits, whole)


def test_depth_weights_are_shares() -> None:
    weights = random_student().depth_weights()
    assert weights.shape == (3,)
    assert float(weights.sum()) == pytest.approx(1.0)
    assert len({round(float(weight), 6) for weight in weights}) == 3


def test_frames_that_are_no_whole_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="81 frames are no multiple of 8"):
        random_student()(torch.zeros(1, 64, 81))


def test_a_configuration_survives_its_own_json_and_nothing_else() -> None:
    assert StudentConfig.from_dict(TINY.to_dict()) == TINY
    with pytest.raises(ValueError, match="'depth' is unknown"):
        StudentConfig.from_dict({**TINY.to_dict(), "depth": 3})
    incomplete = TINY.to_dict()
    del incomplete["heads"]
    with pytest.raises(ValueError, match="'heads'"):
        StudentConfig.from_dict(incomplete)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"step_frames": 6}, "multiple of 4"),
        ({"labels": ("anger",)}, "at least two"),
        ({"labels": ("anger", "joy")}, "unknown label"),
    ],
)
def test_a_configuration_that_makes_no_sense(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(TINY, **wrong)


def test_training_mode_drops_and_learns() -> None:
    student = random_student().train()
    mel = mel_of(1.6)
    first, second = student(mel).logits, student(mel).logits
    assert not torch.equal(first, second)
    first.square().mean().backward()
    missing = [name for name, p in student.named_parameters() if p.grad is None]
    assert missing == []
