"""The loop learns, keeps the best epoch, and goes on after a kill as if nothing had happened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("lightning_fabric", reason="training needs lightning-fabric")

from edge_ser.errors import InputError
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


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole.pt")

    class PullThePlugError(Exception):
        pass

    def plug(model: torch.nn.Module) -> float:
        plug.calls += 1  # type: ignore[attr-defined]
        if plug.calls == 3:  # type: ignore[attr-defined]
            raise PullThePlugError
        return accuracy(model)

    plug.calls = 0  # type: ignore[attr-defined]
    with pytest.raises(PullThePlugError):
        fit(network(), Points(), loss, plug, SETTINGS, tmp_path / "state.pt")
    resumed = run(tmp_path / "state.pt", resume=True)
    assert [record["epoch"] for record in resumed.history] == [1, 2, 3, 4]
    assert resumed.epoch == whole.epoch
    assert all(torch.equal(weights(resumed)[k], v) for k, v in weights(whole).items())


def test_what_heard_other_clips_is_not_resumed(tmp_path: Path) -> None:
    fit(network(), Points(), loss, accuracy, SETTINGS, tmp_path / "state.pt", heard="a")
    with pytest.raises(InputError, match="trained on other clips"):
        fit(
            network(), Points(), loss, accuracy, SETTINGS, tmp_path / "state.pt",
            resume=True, heard="b",
        )  # fmt: skip


def test_what_was_learnt_otherwise_is_not_resumed(tmp_path: Path) -> None:
    """Its results would be told as those of the new flags."""
    path = tmp_path / "state.pt"

    def again(settings: FitSettings, recipe: dict[str, object], resume: bool = True) -> Fitted:
        return fit(
            network(), Points(), loss, accuracy, settings, path, resume=resume, recipe=recipe
        )

    first = again(SETTINGS, {"copies": 1, "config": {"dropout": 0.1}}, resume=False)
    for settings, recipe, message in (
        (replace(SETTINGS, learning_rate=0.5), {}, "learning_rate 0.05, not 0.5"),
        (SETTINGS, {"copies": 2}, "copies 1, not 2"),
        (SETTINGS, {"config": {"dropout": 0.3}}, "dropout 0.1, not 0.3"),
    ):
        with pytest.raises(InputError, match=message):
            again(settings, recipe)
    # A state of before a setting was there goes on.
    same = again(SETTINGS, {"copies": 1, "rooms": True})
    assert all(torch.equal(weights(same)[k], v) for k, v in weights(first).items())


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
