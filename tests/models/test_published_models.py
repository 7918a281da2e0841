from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from edge_ser.models.cross_attention import (
    CrossAttentionConfig,
    CrossAttentionModel,
)
from edge_ser.models.depth_weighted import (
    DEPTHS,
    DepthWeightedConfig,
    DepthWeightedModel,
    SemanticInput,
)
from edge_ser.models.utterance import pool_frames, pool_tokens

SMALL_CROSS = {
    "acoustic_rows": 12,
    "semantic_layers": 3,
    "semantic_width": 10,
    "width": 16,
    "heads": 2,
    "feed_forward": 16,
    "hidden": 8,
}
SMALL_DEEP = {
    "spectral_rows": 12,
    "cepstral_rows": 9,
    "stem": 8,
    "width": 16,
    "heads": 2,
    "feed_forward": 16,
    "hidden": 8,
}


SEMANTIC = {"semantic_layers": 3, "semantic_width": 10, "semantic_rate_hz": 100 * 17 / 41}


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def cross_inputs(frames: int = 40, states: int = 17) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "acoustic": torch.randn(2, 12, frames, generator=generator),
        "acoustic_mask": torch.ones(2, frames, dtype=torch.bool),
        "semantic": torch.randn(2, 3, 10, states, generator=generator),
        "semantic_mask": torch.ones(2, states, dtype=torch.bool),
    }


def deep_inputs(frames: int = 41) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(2, frames, dtype=torch.bool)
    return {
        "spectral": torch.randn(2, 12, frames, generator=generator),
        "cepstral": torch.randn(2, 9, frames, generator=generator),
        "spectral_mask": mask,
        "cepstral_mask": mask.clone(),
    }


def semantic_inputs() -> dict[str, torch.Tensor]:
    cross = cross_inputs()
    return {**deep_inputs(), **{name: cross[name] for name in ("semantic", "semantic_mask")}}


def padded(inputs: dict[str, torch.Tensor], by: int) -> dict[str, torch.Tensor]:
    """The same clips with ``by`` frames of loud nonsense behind their end, masked out."""
    return {
        name: torch.nn.functional.pad(value, (0, by), value=False if "mask" in name else 7.0)
        for name, value in inputs.items()
    }


def trained(model: torch.nn.Module) -> torch.nn.Module:
    """Evaluation mode with batch norms that do something."""
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(layer.running_mean)
            torch.nn.init.uniform_(layer.running_var, 0.5, 2.0)
    return model.eval()


def test_full_size_is_that_of_the_reconstruction() -> None:
    mfcc = CrossAttentionModel(CrossAttentionConfig())
    spectrogram = CrossAttentionModel(CrossAttentionConfig(acoustic_rows=201))
    assert 2.5e6 < parameters(mfcc) < 2.8e6
    assert 2.7e6 < parameters(spectrogram) < 3.0e6
    assert 1.05e6 < parameters(DepthWeightedModel(DepthWeightedConfig())) < 1.25e6


@pytest.mark.parametrize("two_way", [True, False])
@pytest.mark.parametrize("feature_encoder", [True, False])
def test_what_lies_behind_a_clip_does_not_matter(two_way: bool, feature_encoder: bool) -> None:
    torch.manual_seed(0)
    config = CrossAttentionConfig(**SMALL_CROSS, two_way=two_way, feature_encoder=feature_encoder)
    model = trained(CrossAttentionModel(config))
    inputs = cross_inputs()
    with torch.no_grad():
        torch.testing.assert_close(
            model(**inputs), model(**padded(inputs, 10)), atol=1e-5, rtol=1e-4
        )


def test_both_branches_are_heard() -> None:
    torch.manual_seed(0)
    model = trained(CrossAttentionModel(CrossAttentionConfig(**SMALL_CROSS)))
    inputs = cross_inputs()
    with torch.no_grad():
        before = model(**inputs)
        for name in ("acoustic", "semantic"):
            changed = {**inputs, name: torch.randn_like(inputs[name])}
            assert not torch.allclose(before, model(**changed), atol=1e-4)


def test_values_of_the_whole_clip() -> None:
    config = CrossAttentionConfig(**SMALL_CROSS, utterance_rows=5)
    model = CrossAttentionModel(config).eval()
    with pytest.raises(ValueError, match="whole clip"):
        model(**cross_inputs())
    model.utterance_standardise.fit(torch.zeros(5), torch.ones(5))
    one = model(**cross_inputs(), utterance=torch.zeros(2, 5))
    other = model(**cross_inputs(), utterance=torch.ones(2, 5))
    assert one.shape == (2, 6)
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("fusion", ["parallel", "progressive"])
@pytest.mark.parametrize("weights", ["static", "dynamic", "uniform"])
def test_every_parameter_learns(fusion: str, weights: str) -> None:
    torch.manual_seed(0)
    config = DepthWeightedConfig(**SMALL_DEEP, fusion=fusion, depth_weights=weights)
    model = DepthWeightedModel(config)
    model(**deep_inputs()).square().sum().backward()
    idle = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    # Input-dependent weights leave the constants unused; they do not ask for a gradient.
    assert not idle


def test_every_parameter_of_cross_attention_learns() -> None:
    model = CrossAttentionModel(CrossAttentionConfig(**SMALL_CROSS))
    model(**cross_inputs()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_padding_behind_a_clip_does_not_reach_the_lstm() -> None:
    torch.manual_seed(0)
    model = trained(DepthWeightedModel(DepthWeightedConfig(**SMALL_DEEP)))
    inputs = deep_inputs(40)
    with torch.no_grad():
        torch.testing.assert_close(
            model(**inputs), model(**padded(inputs, 12)), atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("depth", DEPTHS)
def test_one_depth_alone(depth: str) -> None:
    model = DepthWeightedModel(DepthWeightedConfig(**SMALL_DEEP, depths=(depth,))).eval()
    assert model(**deep_inputs()).shape == (2, 6)
    torch.testing.assert_close(
        model.depth_weights([torch.zeros(2, 16)]), torch.ones(1, 1), check_dtype=False
    )


@pytest.mark.parametrize("branch", ["spectral", "cepstral"])
def test_one_branch_alone_ignores_the_other(branch: str) -> None:
    other = {"spectral": "cepstral", "cepstral": "spectral"}[branch]
    config = DepthWeightedConfig(**{**SMALL_DEEP, f"{other}_rows": 0})
    model = DepthWeightedModel(config).eval()
    inputs = deep_inputs()
    with torch.no_grad():
        torch.testing.assert_close(
            model(**inputs), model(**{**inputs, other: torch.randn_like(inputs[other])})
        )


def test_a_semantic_branch_is_heard_and_learns() -> None:
    torch.manual_seed(0)
    model = DepthWeightedModel(DepthWeightedConfig(**{**SMALL_DEEP, **SEMANTIC}))
    inputs = semantic_inputs()
    inputs["semantic"].requires_grad_()
    model(**inputs).square().sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert inputs["semantic"].grad is not None
    assert inputs["semantic"].grad.abs().amax((0, 2, 3)).min() > 0  # every layer counts
    with pytest.raises(ValueError, match="speech encoder"):
        model(**deep_inputs())


def test_padding_behind_a_clip_does_not_reach_the_semantic_branch() -> None:
    torch.manual_seed(0)
    config = DepthWeightedConfig(**{**SMALL_DEEP, **SEMANTIC, "cepstral_rows": 0})
    inputs = semantic_inputs()
    model = trained(DepthWeightedModel(config))
    with torch.no_grad():
        torch.testing.assert_close(
            model(**inputs), model(**padded(inputs, 12)), atol=1e-5, rtol=1e-4
        )


def test_states_stand_where_they_were_heard() -> None:
    """A ramp over time is the same ramp at the frame rate."""
    config = DepthWeightedConfig(**{**SMALL_DEEP, **SEMANTIC, "semantic_rate_hz": 40.0})
    states = SemanticInput(config)
    with torch.no_grad():
        states.project.weight.fill_(0.1)
        states.project.bias.zero_()
        ramp = ((torch.arange(20) + 0.5) / 40.0).expand(1, 3, 10, 20)
        heard = states(ramp, torch.ones(1, 20, dtype=torch.bool), 50)
    expected = ((torch.arange(50) + 0.5) / 100.0).clamp(0.5 / 40, 19.5 / 40)
    torch.testing.assert_close(heard[0, 0], expected)


def test_dynamic_weights_depend_on_the_clip_and_sum_to_one() -> None:
    torch.manual_seed(0)
    model = DepthWeightedModel(DepthWeightedConfig(**SMALL_DEEP, depth_weights="dynamic"))
    weights = model.depth_weights([torch.randn(4, 16) for _ in DEPTHS])
    torch.testing.assert_close(weights.sum(1), torch.ones(4))
    assert weights.std(0).max() > 1e-3


def test_senseless_shapes_are_refused() -> None:
    for wrong in (
        {"fusion": "sideways"},
        {"depth_weights": "random"},
        {"depths": ()},
        {"depths": ("deepest",)},
        {"depths": ("shallow", "shallow")},
        {"depths": ("high", "shallow")},
        {"width": 100, "heads": 3},
        {"width": 31, "heads": 1},
        {"spectral_rows": 0, "cepstral_rows": 0},
        {"labels": ("anger", "hunger")},
    ):
        with pytest.raises(ValueError, match=r"\w"):
            DepthWeightedConfig(**wrong)
    with pytest.raises(ValueError, match="heads"):
        CrossAttentionConfig(width=100, heads=8)


def test_pooled_tokens_are_means_of_what_lies_in_the_clip() -> None:
    x = torch.arange(14.0).reshape(1, 1, 7, 2).expand(2, 1, 7, 2)
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1, 4:] = False
    pooled, inside = pool_tokens(x, mask, 3)
    assert inside.tolist() == [[True, True, True], [True, True, False]]
    assert pooled[0, 0, :, 0].tolist() == [2.0, 8.0, 12.0]
    assert pooled[1, 0, :, 0].tolist() == [2.0, 6.0, 0.0]
    across, beside = pool_frames(x[:, 0].transpose(1, 2), mask, 3)
    torch.testing.assert_close(across.transpose(1, 2), pooled[:, 0])
    assert torch.equal(beside, inside)
    whole, same = pool_tokens(x, mask, 1)
    assert whole is x
    assert same is mask
