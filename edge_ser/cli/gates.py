"""The flags that say how far a form of a model may be from its reference."""

from __future__ import annotations

import argparse

from edge_ser.cli.bounds import real
from edge_ser.parity import Gates

__all__ = ["add_gates", "gates_of"]

_FLAGS = {
    "agreement": ("--min-agreement", "least share of clips with the same label"),
    "uar_change": ("--max-uar-change", "largest change of UAR"),
    "mean_score_error": ("--max-mean-error", "largest mean error of a final probability"),
    "worst_score_error": ("--max-score-error", "largest error of any probability in any step"),
}


def add_gates(parser: argparse.ArgumentParser) -> None:
    """A flag for every gate."""
    defaults = Gates()
    for name, (flag, what) in _FLAGS.items():
        default: float = getattr(defaults, name)
        parser.add_argument(
            flag, type=real(0.0, 1.0), default=default, dest=name, metavar="X",
            help=f"{what} (default: {default:g})",
        )  # fmt: skip


def gates_of(options: argparse.Namespace) -> Gates:
    """What the flags ask for."""
    return Gates(**{name: getattr(options, name) for name in _FLAGS})
