"""The saved state of a training: written whole, read with care, resumed only by its own run."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from edge_ser.errors import InputError
from edge_ser.files import replace_file

__all__ = ["SETTINGS_ONCE", "check_same_run", "read_state", "save_state"]

_KEYS = (
    "model", "average", "optimizer", "scheduler", "rng", "best", "best_score", "best_epoch",
    "epoch", "history",
)  # fmt: skip
_FREE = {"epochs", "fit", "linear", "members", "validation_share"}
"""What may change between a run and its resumption: more epochs or members; which clips are held
back shows in the clips that are heard, and the rest does not shape the weights."""

SETTINGS_ONCE: dict[str, Any] = {"muon_rate": 0.0}
"""Settings of a fit that older versions did not save, as they were then."""


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` so that the file is there whole or not at all.

    Raises:
        InputError: the folder cannot be written to.
        OutputError: the disk is full.
    """
    content = io.BytesIO()  # torch hides from its caller that the disk is full
    torch.save(state, content)
    with replace_file(path) as file:
        file.write(content.getbuffer())


def read_state(path: Path, device: torch.device) -> dict[str, Any]:
    """The state that :func:`save_state` wrote.

    Raises:
        InputError: the file is damaged or something else.
    """
    try:
        state = torch.load(path, weights_only=True, map_location=device)
    # torch.load has no error of its own; whatever it raises, the file is not what was saved.
    except Exception as error:
        said = str(error).partition("\n")[0] or type(error).__name__
        if "weights_only" in said:  # how to load it in spite of that is no advice to follow
            said = type(error).__name__
        raise InputError(
            f"{path}: cannot be read as the state of a training ({said}); delete it or leave "
            "--resume away to start anew"
        ) from error
    lacking = [key for key in _KEYS if not isinstance(state, dict) or key not in state]
    if lacking:
        raise InputError(
            f"{path}: is no state of a training, it lacks {lacking[0]!r}; delete it or leave "
            "--resume away to start anew"
        )
    return cast("dict[str, Any]", state)


def check_same_run(
    path: Path, state: Mapping[str, Any], heard: str, settings: Mapping[str, Any], epochs: int
) -> None:
    """Refuse the state of another run, whose weights would be reported as those of this one.

    Args:
        path: of the state, for messages.
        state: what was saved.
        heard: digest of the training clips.
        settings: everything else that shapes the weights, JSON-ready.
        epochs: how many are asked for.

    Raises:
        InputError: naming what differs.
    """
    if state.get("heard") != heard:
        raise InputError(
            f"{path}: was trained on other clips or labels (another --seed, --folds, "
            "--labels, --protocol or --data), so it cannot be resumed; give the same ones, "
            "take another --out, or leave --resume away to start anew"
        )
    if state["epoch"] > epochs:
        raise InputError(
            f"{path}: was trained for {state['epoch']} epochs already, {epochs} are asked for; "
            "ask for as many or more, or leave --resume away to start anew"
        )
    before = {**SETTINGS_ONCE, **dict(_flat(json.loads(state.get("settings", "{}"))))}
    for name, value in _flat(json.loads(json.dumps(settings))):
        # What an older version did not save cannot be compared.
        if name in before and before[name] != value:
            raise InputError(
                f"{path}: was trained with {name} {before[name]}, not {value}, so it cannot be "
                "resumed; give the same settings, take another --out, or leave --resume away to "
                "start anew"
            )


def _flat(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if name in _FREE:
            continue
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", entry) for inner, entry in _flat(value))
        else:
            yield name, value
