"""The loop learns, keeps the best epoch, and goes on after a kill as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("lightning_fabric", reason="training needs lightning-fabric")
pytest.importorskip("pytorch_optimizer", reason="Muon needs pytorch-optimizer")

from edge_ser.errors import InputError, OutputError
from edge_ser.training.batches import Batch
from edge_ser.training.fit import FitSettings, Fitted, fit

SETTINGS = FitSettings(epochs=4, learning_rate=0.05, warmup_epochs=0.5, ema=0.9, seed=3)


class Points:
    """Two clouds of points, drawn anew every epoch."""

    def __len__(self) -> int:
        return 5

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        for _ in range(len(self)):
            target = rng.integers(0, 2, 16)
            points = rng.standard_normal((16, 3)) + 1.5 * (2 * target[:, None] - 1)
            yield Batch(
                torch.from_numpy(points.astype(np.float32)),
                torch.from_numpy(np.eye(2, dtype=np.float32)[target]),
                torch.zeros(16, 1, dtype=torch.int64),
                origin=torch.zeros(16),
                clips=(),
                voices=(),
            )


def loss(model: torch.nn.Module, batch: Batch, rng: np.random.Generator) -> torch.Tensor:
    noise = torch.from_numpy(rng.standard_normal(batch.mel.shape).astype(np.float32))
    return torch.nn.functional.cross_entropy(model(batch.mel + 0.1 * noise), batch.target)


def network() -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 2))


def accuracy(model: torch.nn.Module) -> float:
    assert not model.training
    right = total = 0
    with torch.no_grad():
        for batch in Points().epoch(np.random.default_rng(99)):
            right += int((model(batch.mel).argmax(1) == batch.target.argmax(1)).sum())
            total += len(batch.mel)
    return right / total


def run(path: Path, settings: FitSettings = SETTINGS, resume: bool = False) -> Fitted:
    return fit(network(), Points(), loss, accuracy, settings, path, resume=resume)


def weights(fitted: Fitted) -> dict[str, torch.Tensor]:
    return dict(fitted.model.state_dict())


def test_it_learns_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    fitted = run(tmp_path / "state.pt")
    assert [record["epoch"] for record in fitted.history] == [1, 2, 3, 4]
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
    scores = [record["validation"] for record in fitted.history]
    assert scores[fitted.epoch - 1] == max(scores)
    assert accuracy(fitted.model) == max(scores) > 0.8


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    first, second = run(tmp_path / "a.pt"), run(tmp_path / "b.pt")
    assert all(torch.equal(weights(second)[k], v) for k, v in weights(first).items())
    other = run(tmp_path / "c.pt", replace(SETTINGS, seed=4))
    assert not all(torch.equal(weights(other)[k], v) for k, v in weights(first).items())


@pytest.mark.parametrize("muon_rate", [0.0, 0.05])
def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path: Path, muon_rate: float) -> None:
    settings = replace(SETTINGS, muon_rate=muon_rate)
    whole = run(tmp_path / "whole.pt", settings)
    assert accuracy(whole.model) > 0.8

    class PullThePlugError(Exception):
        pass

    def plug(model: torch.nn.Module) -> float:
        plug.calls += 1  # type: ignore[attr-defined]
        if plug.calls == 3:  # type: ignore[attr-defined]
            raise PullThePlugError
        return accuracy(model)

    plug.calls = 0  # type: ignore[attr-defined]
    with pytest.raises(PullThePlugError):
        fit(network(), Points(), loss, plug, settings, tmp_path / "state.pt")
    resumed = run(tmp_path / "state.pt", settings, resume=True)
    assert [record["epoch"] for record in resumed.history] == [1, 2, 3, 4]
    assert resumed.epoch == whole.epoch
    assert all(torch.equal(weights(resumed)[k], v) for k, v in weights(whole).items())
    other = run(tmp_path / "other.pt", replace(settings, muon_rate=0.1))
    assert not torch.equal(weights(other)["0.weight"], weights(whole)["0.weight"])


def test_what_heard_other_clips_is_not_resumed(tmp_path: Path) -> None:
    fit(network(), Points(), loss, accuracy, SETTINGS, tmp_path / "state.pt", heard="a")
    with pytest.raises(InputError, match="trained on other clips"):
        fit(
            network(), Points(), loss, accuracy, SETTINGS, tmp_path / "state.pt",
            resume=True, heard="b",
        )  # fmt: skip


def test_a_state_from_before_there_was_muon_is_adamws(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    run(path)
    state = torch.load(path, weights_only=True)
    settings = json.loads(state["settings"])
    del settings["muon_rate"]
    torch.save({**state, "settings": json.dumps(settings)}, path)
    with pytest.raises(InputError, match=r"muon_rate 0\.0, not 0\.1"):
        run(path, replace(SETTINGS, muon_rate=0.1), resume=True)
    assert run(path, resume=True).epoch


def test_what_another_recipe_made_is_not_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def go(recipe: dict[str, object], settings: FitSettings = SETTINGS) -> Fitted:
        return fit(
            network(), Points(), loss, accuracy, settings, tmp_path / "state.pt",
            resume=True, recipe=recipe,
        )  # fmt: skip

    go({"copies": 1, "config": {"labels": ("a", "b"), "heads": 2}, "members": 1})
    same = {"copies": 1, "config": {"labels": ("a", "b"), "heads": 2}, "members": 3, "new": 0}
    longer = replace(SETTINGS, epochs=5)
    assert "ends otherwise" not in capsys.readouterr().err
    go(same, longer)
    assert "begun for 4 epochs; with 5 now it ends otherwise" in capsys.readouterr().err
    for recipe, settings, message in (
        ({**same, "copies": 2}, longer, "copies 1, not 2"),
        ({**same, "config": {"heads": 4}}, longer, r"config\.heads 2, not 4"),
        (same, replace(longer, seed=9), "seed 3, not 9"),
        (same, replace(longer, learning_rate=1.0), r"learning_rate 0\.05, not 1"),
        (same, replace(longer, muon_rate=0.1), r"muon_rate 0\.0, not 0\.1"),
        (same, replace(SETTINGS, epochs=2), "trained for 5 epochs already, 2 are"),
    ):
        with pytest.raises(InputError, match=message):
            go(recipe, settings)


def test_a_loss_that_explodes_is_told(tmp_path: Path) -> None:
    settings = replace(SETTINGS, learning_rate=1e30, warmup_epochs=0.0)
    with pytest.raises(InputError, match="lower --learning-rate"):
        run(tmp_path / "state.pt", settings)


@pytest.mark.parametrize("rates", [{"learning_rate": 1e38}, {"weight_decay": 1e40}])
def test_weights_that_run_away_in_the_last_step_are_told(
    tmp_path: Path, rates: dict[str, float]
) -> None:
    class One(Points):
        def __len__(self) -> int:
            return 1

    settings = replace(SETTINGS, epochs=1, warmup_epochs=0.0, **rates)
    with pytest.raises(InputError, match=r"epoch 1: .*weight is no finite .* --weight-decay"):
        fit(network(), One(), loss, None, settings, tmp_path / "state.pt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", ["average", "optimizer", "scheduler", "rng"])
def test_a_state_with_a_damaged_part_is_told(tmp_path: Path, part: str) -> None:
    path = tmp_path / "state.pt"
    run(path)
    state = torch.load(path, weights_only=True)
    torch.save({**state, part: torch.zeros(1) if part == "rng" else {}}, path)
    with pytest.raises(InputError, match=r"state\.pt: is the state of another model or optim"):
        run(path, resume=True)


def test_a_full_disk_loses_no_state(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "state.pt"
    run(path, replace(SETTINGS, epochs=1))
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutputError, match="state"):
            run(path, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.pt"]
    assert path.read_bytes() == before
    assert len(run(path, resume=True).history) == 4


def test_without_validation_the_last_epoch_is_kept(tmp_path: Path) -> None:
    fitted = fit(network(), Points(), loss, None, SETTINGS, tmp_path / "state.pt")
    assert fitted.epoch == SETTINGS.epochs
    assert not fitted.model.training


def test_no_epoch_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one epoch"):
        run(tmp_path / "state.pt", replace(SETTINGS, epochs=0))


@pytest.mark.parametrize("content", [b"", b"junk", "cut", "other"])
def test_a_damaged_state_is_told(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "state.pt"
    run(path)
    if content == "cut":
        path.write_bytes(path.read_bytes()[:-500])
    elif content == "other":
        torch.save({"epoch": 1}, path)
    else:
        assert isinstance(content, bytes)
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"state of a training"):
        run(path, resume=True)
