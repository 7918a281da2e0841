"""A training that ran away is told before anything of it is written."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_ser.errors import InputError

__all__ = ["check_logits", "check_weights", "ran_away"]


def ran_away(what: str) -> InputError:
    """The error that says ``what`` of a training whose numbers are finite no more."""
    return InputError(
        f"{what}: the training ran away; take a lower --learning-rate, --muon-rate or "
        "--weight-decay, and leave --resume away"
    )


def check_weights(weights: Mapping[str, Tensor], name: str) -> None:
    """Refuse weights, or statistics of the data beside them, that are no finite numbers.

    Raises:
        InputError: naming the first.
    """
    for key, value in weights.items():
        if not torch.isfinite(value).all():
            raise ran_away(f"{name}: {key} is no finite number")


def check_logits(logits: NDArray[np.float32]) -> None:
    """Refuse verdicts that are no finite numbers; weights that are may still give such.

    Raises:
        InputError: there is one.
    """
    if not np.isfinite(logits).all():
        raise ran_away("a verdict is no finite number")
