"""Flags of everything that listens: the speech gate and the smoothing."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_ser.runtime.smoothing import SmoothingSettings
    from edge_ser.runtime.utterances import UtteranceSettings

__all__ = ["add_gate", "smoothing_settings", "utterance_settings"]

_GATE = {
    "threshold": ("P", "probability that begins speech (default: 0.5)"),
    "neg_threshold": ("P", "probability that ends speech (default: 0.35)"),
    "min_speech_ms": ("MS", "speech before an utterance is told (default: 200)"),
    "min_silence_ms": ("MS", "silence that ends it (default: 500)"),
    "max_speech_ms": ("MS", "longest utterance (default: 15000)"),
    "pad_ms": ("MS", "audio around it that belongs to it (default: 100)"),
}
_SMOOTHING = {
    "enter_threshold": ("P", "smoothed probability that enters a state (default: 0.5)"),
    "exit_threshold": ("P", "smoothed probability that leaves it (default: 0.35)"),
    "min_hold_ms": ("MS", "shortest state (default: 1000)"),
    "idle_ms": ("MS", "silence that ends a state (default: 5000)"),
}


def add_gate(parser: argparse.ArgumentParser) -> None:
    """The flags, each without a default: the settings have their own."""
    gate = parser.add_argument_group("speech gate")
    for name, (metavar, text) in _GATE.items():
        flag = "--vad-" + name.replace("_", "-")
        gate.add_argument(flag, dest=f"vad_{name}", type=float, metavar=metavar, help=text)
    smoothing = parser.add_argument_group("state changes")
    for name, (metavar, text) in _SMOOTHING.items():
        flag = "--" + name.replace("_", "-")
        smoothing.add_argument(flag, dest=name, type=float, metavar=metavar, help=text)
    smoothing.add_argument(
        "--patience", type=int, metavar="N", help="verdicts in a row for a change (default: 3)"
    )


def utterance_settings(options: argparse.Namespace) -> UtteranceSettings:
    """What the flags say of utterances.

    Raises:
        UsageError: they contradict each other.
    """
    from edge_ser.runtime.utterances import UtteranceSettings

    given = {name: getattr(options, f"vad_{name}") for name in _GATE}
    return UtteranceSettings(**{k: v for k, v in given.items() if v is not None})


def smoothing_settings(options: argparse.Namespace) -> SmoothingSettings:
    """What the flags say of smoothing.

    Raises:
        UsageError: they contradict each other.
    """
    from edge_ser.runtime.smoothing import SmoothingSettings

    given = {name: getattr(options, name) for name in (*_SMOOTHING, "patience")}
    return SmoothingSettings(**{k: v for k, v in given.items() if v is not None})
