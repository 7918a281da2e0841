"""Flags that say how a network learns; each model has defaults of its own."""

from __future__ import annotations

import argparse
from typing import Any

from edge_ser.cli.bounds import real, whole

__all__ = ["FLAGS", "add_arguments", "given"]

FLAGS = (
    "epochs", "batch_size", "learning_rate", "muon_rate", "weight_decay", "ema", "dropout",
    "head_dropout", "masks",
)  # fmt: skip
"""Their names among the parsed options."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of everything that is trained by gradient descent."""
    group = parser.add_argument_group(
        "learning",
        "Defaults are the model's own and are kept with what was trained. Of a student with a "
        "teacher: 24 epochs, batches of 16, rate 6e-3, of Muon 1.5e-2; without: 40, 8, 2e-3, no "
        "Muon; of both: average 0.995, nothing dropped or masked.",
    )
    group.add_argument("--epochs", type=whole(1), metavar="N")
    group.add_argument("--batch-size", type=whole(2, 4096), metavar="N", help="clips at once")
    group.add_argument("--learning-rate", type=real(above=True), metavar="R")
    group.add_argument(
        "--muon-rate",
        type=real(0, 1),
        metavar="R",
        help="learning rate of a student's hidden matrices by Muon, while --learning-rate is that "
        "of all else by AdamW; 0 leaves them to AdamW too",
    )
    group.add_argument("--weight-decay", type=real(0), metavar="R")
    group.add_argument(
        "--ema",
        type=real(0, 0.99999),
        metavar="D",
        help="decay a step of the average of the weights that is kept",
    )
    group.add_argument("--dropout", type=real(0, 0.9), metavar="P", help="of what a layer gives")
    group.add_argument(
        "--head-dropout", type=real(0, 0.9), metavar="P", help="before the classifier"
    )
    group.add_argument(
        "--masks",
        type=whole(0, 16),
        metavar="N",
        help="stretches and bands of the features that are blanked",
    )


def given(options: argparse.Namespace, **names: str) -> dict[str, Any]:
    """What was asked for: values of flags that were used, under the names of a recipe.

    Args:
        options: parsed flags.
        names: the recipe's name of each flag.
    """
    return {
        name: getattr(options, flag)
        for flag, name in names.items()
        if getattr(options, flag) is not None
    }
