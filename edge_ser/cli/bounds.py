"""Numbers that flags take, with their bounds, so that nonsense is refused before any work."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

__all__ = ["MOST_THREADS", "layer_numbers", "real", "whole"]

MOST_THREADS = 1024


def whole(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """A reader of whole numbers from ``least`` to ``most``, for ``add_argument(type=…)``."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not between {least} and {most}")
        return value

    return read


def real(
    least: float = 0.0, most: float = math.inf, *, above: bool = False
) -> Callable[[str], float]:
    """A reader of finite numbers from ``least`` to ``most``.

    Args:
        above: ``least`` itself is too little.
    """

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        if not math.isfinite(value) or not least <= value <= most or (above and value == least):
            bounds = f"{'above' if above else 'at least'} {least:g}"
            bounds += f" and at most {most:g}" if most < math.inf else ""
            raise argparse.ArgumentTypeError(f"{text} is not a finite number {bounds}")
        return value

    return read


def layer_numbers(text: str) -> tuple[int, ...]:
    """Layers of an encoder in rising order, from ``1,2,3``, for ``add_argument(type=…)``."""
    try:
        layers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text}: write numbers with commas, for example 1,2,3"
        ) from None
    if list(layers) != sorted(set(layers)):
        raise argparse.ArgumentTypeError(f"{text}: name each layer once, the lowest first")
    return layers
