"""The optimizer of a training: AdamW, or Muon for all matrices but those read off."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer

from edge_ser.errors import MissingExtra

__all__ = ["make_optimizer"]


def make_optimizer(
    model: nn.Module,
    *,
    learning_rate: float,
    weight_decay: float,
    muon_rate: float = 0.0,
    tuned_rate: float = 0.0,
) -> Optimizer:
    """AdamW (Loshchilov and Hutter 2019), beside Muon if ``muon_rate`` is above 0.

    Muon (Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; steps
    scaled after Liu et al., "Muon is scalable for LLM training", 2025, section 2.2) makes the
    momentum of a matrix nearly orthogonal before it steps, so that all directions are learnt at
    one pace and not those of the loudest features first. A kernel counts as one matrix with a
    row for each output, also where its channels are grouped. Matrices of ``model.readouts``,
    where it has that attribute, stay with AdamW; docs/distil.md tells what that is worth.

    Only matrices and kernels decay, never biases, norms, depth weights or what is tuned.

    Args:
        model: ``model.tuned`` is the part that was trained before, where it has one.
        learning_rate: of AdamW.
        muon_rate: learning rate of Muon.
        tuned_rate: of AdamW for the tuned part.

    Raises:
        MissingExtra: pytorch-optimizer is not installed.
    """
    tuned = _parameters(getattr(model, "tuned", None))
    read = {id(p) for p in _parameters(getattr(model, "readouts", None))}
    known = {id(p) for p in tuned}
    new = [p for p in model.parameters() if p.requires_grad and id(p) not in known]
    hidden = [p for p in new if p.ndim > 1 and id(p) not in read] if muon_rate else []
    known |= {id(p) for p in hidden}
    matrices = [p for p in new if p.ndim > 1 and id(p) not in known]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": [p for p in new if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if tuned:
        groups.append({"params": tuned, "weight_decay": 0.0, "lr": tuned_rate})
    if not muon_rate:
        return AdamW(groups, lr=learning_rate, fused=True)
    try:
        from pytorch_optimizer import Muon
    except ImportError:
        raise MissingExtra("pytorch-optimizer", "train", "train with Muon") from None
    adam = {"lr": learning_rate, "betas": (0.9, 0.999), "eps": 1e-8, "use_muon": False}
    muon = {
        "lr": muon_rate,
        "weight_decay": weight_decay,
        "use_adjusted_lr": True,
        "momentum": 0.95,
        "nesterov": True,
        "ns_steps": 5,
    }
    made: Optimizer = Muon(
        [{"params": hidden, "use_muon": True, **muon}, *({**adam, **group} for group in groups)]
    )
    return made


def _parameters(part: object) -> list[nn.Parameter]:
    return list(part.parameters()) if isinstance(part, nn.Module) else []
