"""The training loop: any model, one or several devices, checkpoints, resume."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from edge_ser.errors import InputError, UsageError
from edge_ser.training.finite import check_weights, ran_away
from edge_ser.training.optimizers import make_optimizer
from edge_ser.training.processes import engine
from edge_ser.training.progress import say
from edge_ser.training.state import check_same_run, read_state, save_state

__all__ = ["FitSettings", "Fitted", "fit"]

B = TypeVar("B")
B_co = TypeVar("B_co", covariant=True)


class Batches(Protocol[B_co]):
    """A source of training batches, dataclasses of tensors."""

    def __len__(self) -> int: ...

    def epoch(self, rng: np.random.Generator) -> Iterator[B_co]: ...


@dataclass(frozen=True)
class FitSettings:
    """How long and how fast to learn.

    Attributes:
        muon_rate: learning rate of hidden matrices and kernels by Muon; 0 leaves them to AdamW,
            see ``make_optimizer``.
        tuned_rate: learning rate of ``model.tuned``, where a model has parts that were trained
            before.
        ema: decay per batch of the weight average that is validated and kept.
        patience: epochs without a better validation before stopping, 0 for never.
    """

    epochs: int = 90
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    muon_rate: float = 0.0
    tuned_rate: float = 1e-5
    warmup_epochs: float = 2.0
    clip_norm: float = 5.0
    ema: float = 0.998
    patience: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Fitted:
    """The end of a training run.

    Attributes:
        model: the averaged weights of the chosen epoch, in evaluation mode.
        epoch: the chosen epoch, from 1.
        history: one record an epoch.
    """

    model: nn.Module
    epoch: int
    history: list[dict[str, float]]


def fit(
    model: nn.Module,
    batches: Batches[B],
    loss: Callable[[nn.Module, B, np.random.Generator], Tensor],
    validate: Callable[[nn.Module], float] | None,
    settings: FitSettings,
    state_path: Path,
    *,
    resume: bool = False,
    name: str = "training",
    heard: str = "",
    recipe: Mapping[str, Any] | None = None,
    fabric: Any = None,
) -> Fitted:
    """Train ``model`` in place and return its averaged weights of the best epoch.

    The state of the run is saved after every epoch; a run that was killed continues from
    there with ``resume`` and goes on as if nothing had happened.

    Args:
        loss: scalar loss of a batch.
        validate: score of a model in evaluation mode, higher is better; the epoch with the
            best score is kept. Without it the last epoch is.
        state_path: file of the saved state.
        heard: digest of the training clips; a state that heard others is not resumed, for
            it could be tested on speakers that it knows.
        recipe: what else shapes the weights beside ``settings``, JSON-ready; a state of
            another recipe is not resumed.
        fabric: a launched ``lightning_fabric.Fabric`` with several processes, each of which
            calls this with the same arguments; default that of ``processes.engine``. The
            processes share the batches of an epoch, so an epoch has as many optimizer steps
            as there are whole rounds of batches; rank 0 validates and saves, and what it
            decides holds for all.

    Raises:
        InputError: the saved state is of another run, or cannot be written; the loss or the
            weights are no finite numbers any more.
        OutputError: the disk is full; the state of the epoch before is still there.
    """
    if fabric is None:
        fabric = engine()
    rank, world = fabric.global_rank, fabric.world_size
    shaped = {**(recipe or {}), **asdict(settings)}
    torch.manual_seed(settings.seed)
    optimizer = make_optimizer(
        model,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        muon_rate=settings.muon_rate,
        tuned_rate=settings.tuned_rate,
    )
    average = AveragedModel(model, avg_fn=_warm_average(settings.ema), use_buffers=True)
    steps_per_epoch = len(batches) // world
    if steps_per_epoch < 1:
        raise UsageError(f"{len(batches)} batches are too few for {world} processes")
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: _rate(
            step, settings.epochs * steps_per_epoch, settings.warmup_epochs * steps_per_epoch
        ),
    )
    wrapped, optimizer = fabric.setup(model, optimizer)
    average.to(fabric.device)
    best: dict[str, Tensor] | None = None
    best_score, best_epoch, history, first = -math.inf, 0, list[dict[str, float]](), 1
    if not resume and state_path.exists() and rank == 0:
        say(f"{name}: begins anew and replaces the run in {state_path.parent} (--resume goes on)")
    if resume and state_path.exists():
        state = read_state(state_path, fabric.device)
        check_same_run(state_path, state, heard, shaped, settings.epochs)
        try:
            model.load_state_dict(state["model"])
            average.load_state_dict(state["average"])
            optimizer.load_state_dict(state["optimizer"])
            scheduler.load_state_dict(state["scheduler"])
            torch.set_rng_state(state["rng"].cpu())
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"{state_path}: is the state of another model or optimizer, or damaged, so it "
                "cannot be resumed; take another --out, or leave --resume away to start anew"
            ) from error
        best, best_score, best_epoch = state["best"], state["best_score"], state["best_epoch"]
        history, first = json.loads(state["history"]), state["epoch"] + 1
        say(f"{name}: resumed after epoch {state['epoch']}")
        meant = json.loads(state.get("settings", "{}")).get("epochs", settings.epochs)
        if meant != settings.epochs:
            say(
                f"{name}: it was begun for {meant} epochs; with {settings.epochs} now it ends "
                "otherwise than a run of as many from the start, whose learning rate falls later"
            )
    for epoch in range(first, settings.epochs + 1):
        if settings.patience and epoch - 1 - best_epoch >= settings.patience and best_epoch:
            break
        began = time.monotonic()
        rng = np.random.default_rng([settings.seed, epoch])
        # Alone, the loss draws from the same numbers as the batches; several processes must
        # agree on the batches whatever their losses draw.
        own = rng if world == 1 else np.random.default_rng([settings.seed, epoch, 1 + rank])
        if world > 1:
            torch.manual_seed(hash((settings.seed, epoch, rank)) % 2**31)
        total, count = 0.0, 0
        wrapped.train()
        for index, batch in enumerate(batches.epoch(rng)):
            if index % world != rank or index >= steps_per_epoch * world:
                continue
            value = loss(wrapped, _on_device(batch, fabric.device), own)
            fabric.backward(value)
            norm = fabric.clip_gradients(
                wrapped, optimizer, max_norm=settings.clip_norm, error_if_nonfinite=False
            )
            if not torch.isfinite(norm):
                raise ran_away(
                    f"{name}: the loss is {value.item():g} in epoch {epoch} and its gradient no "
                    "finite number"
                )
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()
            average.update_parameters(model)
            total, count = total + value.item(), count + 1
        record = {"epoch": epoch, "loss": total / max(1, count)}
        if world > 1:
            record["loss"] = float(fabric.all_reduce(torch.tensor(record["loss"])))
            # Batch norm sees other clips in each process; keep the mean of what they saw.
            for buffer in average.module.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(fabric.all_reduce(buffer.clone(), reduce_op="mean"))
        # The last step has no gradient after it that would tell.
        check_weights(average.module.state_dict(), f"{name}, epoch {epoch}")
        average.eval()
        if validate is None:
            record_score = float(epoch)
        else:
            found = validate(average.module) if rank == 0 else 0.0
            record_score = record["validation"] = float(fabric.broadcast(found, src=0))
        if record_score >= best_score:
            best_score, best_epoch = record_score, epoch
            best = {k: v.detach().clone() for k, v in average.module.state_dict().items()}
        record["seconds"] = time.monotonic() - began
        history.append(record)
        if rank == 0:
            state = {
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scheduler": scheduler.state_dict(),
                "rng": torch.get_rng_state(),
                "best": best,
                "best_score": best_score,
                "best_epoch": best_epoch,
                "epoch": epoch,
                "history": json.dumps(history),
                "settings": json.dumps(shaped),
                "heard": heard,
            }
            save_state(state_path, state)
            shown = "  ".join(
                f"{k} {v:.4f}" for k, v in record.items() if k not in ("epoch", "seconds")
            )
            left = (settings.epochs - epoch) * record["seconds"] / 60
            say(f"{name}: epoch {epoch}/{settings.epochs}  {shown}  ({left:.0f} min left)")
    if best is None:
        raise ValueError("a run needs at least one epoch")
    model.load_state_dict(best)
    model.eval()
    return Fitted(model, best_epoch, history)


def _on_device(batch: B, device: torch.device) -> B:
    """The batch, a dataclass, with its tensors on ``device``."""

    def moved(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(device)
        if isinstance(value, dict):
            return {key: moved(entry) for key, entry in value.items()}
        return value

    if device.type == "cpu":
        return batch
    known: Any = batch
    return cast(B, replace(known, **{f.name: moved(getattr(known, f.name)) for f in fields(known)}))


def _rate(step: int, total: int, warmup: float) -> float:
    """Linear warm-up, then a cosine to zero, as a factor on the learning rate."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1.0, total - warmup))))


def _warm_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Exponential average that forgets the random first weights quickly."""

    def update(average: Tensor, current: Tensor, n_averaged: Tensor | int) -> Tensor:
        n = float(n_averaged)
        keep = min(decay, (1 + n) / (10 + n))
        return average + (current - average) * (1 - keep)

    return update
