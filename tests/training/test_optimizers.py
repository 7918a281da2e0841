"""Which weights each optimizer moves, and how fast."""

from __future__ import annotations

import sys

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("pytorch_optimizer", reason="Muon needs pytorch-optimizer")

from torch import Tensor, nn

from edge_ser.errors import MissingExtra
from edge_ser.models import StudentConfig
from edge_ser.models.student import Student
from edge_ser.training.distiller import Distiller
from edge_ser.training.optimizers import make_optimizer


def distiller() -> Distiller:
    torch.manual_seed(0)
    config = StudentConfig(stem=8, trunk=8, heads=2, fused=8, context=8)
    return Distiller(Student(config, 0.0), 6, 2, states=True, summary=True, evidence=True)


def moved(model: nn.Module, **rates: float) -> dict[str, Tensor]:
    """How each weight moves in one step down random gradients."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = make_optimizer(model, **{"learning_rate": 0.0, "weight_decay": 0.0, **rates})
    torch.manual_seed(1)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
    return {name: p.detach() - before[name] for name, p in model.named_parameters()}


def test_muon_takes_hidden_matrices_and_adamw_all_else() -> None:
    by_muon = {name for name, step in moved(distiller(), muon_rate=0.1).items() if step.any()}
    model = distiller()
    read = {
        name
        for name, _ in model.named_parameters()
        if name.startswith(("state_heads", "summary_head", "evidence_head", "student.classifier"))
    }
    matrices = {name for name, p in model.named_parameters() if p.ndim > 1}
    assert len(read) == 12
    assert by_muon == matrices - read
    by_adam = {name for name, s in moved(model, learning_rate=0.1, muon_rate=1e-9).items()
               if s.abs().max() > 1e-3}  # fmt: skip
    assert by_adam == {name for name, _ in model.named_parameters()} - by_muon


def test_a_step_of_muon_is_nearly_orthogonal_and_as_long_as_one_of_adamw() -> None:
    steps = moved(distiller(), muon_rate=0.1)
    for layer in ("middle", "shallow"):  # a small matrix, and a wide one
        step = steps[f"student.{layer}.0.conv.weight"]
        singular = torch.linalg.svdvals(step.flatten(1))
        assert singular.max() < 2.0 * singular.min()
        assert step.square().mean().sqrt() == pytest.approx(0.1 * 0.2, rel=0.3)


def test_all_weights_are_adamws_without_a_rate_for_muon() -> None:
    model = distiller()
    steps = moved(model, learning_rate=0.1)
    assert all(step.abs().min() > 0.09 for step in steps.values())
    assert isinstance(make_optimizer(model, learning_rate=0.1, weight_decay=0.1), torch.optim.AdamW)


def test_beside_muon_adamw_steps_as_it_does_alone() -> None:
    ends = []
    for muon_rate in (0.0, 0.1):
        model = distiller()
        optimizer = make_optimizer(model, learning_rate=0.1, weight_decay=0.3, muon_rate=muon_rate)
        torch.manual_seed(1)
        for _ in range(3):
            for p in model.parameters():
                p.grad = torch.randn_like(p) * 1e-3
            optimizer.step()
        ends.append(model.state_dict())
    for name in ("student.fuse_norm.bias", "student.classifier.weight", "evidence_head.weight"):
        torch.testing.assert_close(ends[0][name], ends[1][name], atol=1e-5, rtol=1e-4)


def test_only_matrices_decay() -> None:
    """With no gradient to speak of, what is left of a step is the decay."""
    for muon_rate in (0.0, 0.1):
        model = distiller()
        with torch.no_grad():
            for p in model.parameters():
                p.fill_(1.0)
                p.grad = torch.zeros_like(p)
        optimizer = make_optimizer(model, learning_rate=0.1, weight_decay=0.5, muon_rate=muon_rate)
        optimizer.step()
        for name, p in model.named_parameters():
            expected = 0.95 if p.ndim > 1 else 1.0
            assert torch.allclose(p, torch.full_like(p, expected), atol=1e-3), name


def test_what_was_trained_before_has_a_rate_of_its_own() -> None:
    class Tuned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tuned, self.new = nn.Linear(8, 8), nn.Linear(8, 8)

    for muon_rate in (0.0, 0.1):
        steps = moved(Tuned(), learning_rate=0.1, muon_rate=muon_rate, tuned_rate=0.001)
        assert steps["tuned.weight"].abs().max() == pytest.approx(0.001, rel=0.05)
        assert steps["new.bias"].abs().max() == pytest.approx(0.1, rel=0.05)
        heavy = moved(Tuned(), muon_rate=muon_rate, tuned_rate=0.001, weight_decay=900.0)
        assert heavy["tuned.weight"].abs().max() == pytest.approx(0.001, rel=0.05)  # no decay


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(MissingExtra, match="pytorch-optimizer"):
        make_optimizer(distiller(), learning_rate=0.1, weight_decay=0.0, muon_rate=0.1)
