"""The saved state of a training: written whole, read with care, resumed by the same run only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from edge_ser.errors import InputError
from edge_ser.files import replace_file

__all__ = ["check_same_run", "read_state", "save_state"]

_KEYS = (
    "model", "average", "optimizer", "scheduler", "rng", "best", "best_score", "best_epoch",
    "epoch", "history",
)  # fmt: skip


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` so that it is there whole or not at all."""
    with replace_file(path) as file:
        torch.save(dict(state), file)


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
    path: Path, state: Mapping[str, Any], heard: str, told: Mapping[str, str]
) -> None:
    """Refuse a state that something else was learnt by than what is asked for now.

    What it learnt would be reported under the new settings, and clips of its training could be
    tested on.

    Args:
        path: of the state, for messages.
        state: that was read.
        heard: digest of the training clips.
        told: JSON of everything else that decides what is learnt, by the name of its entry in
            the state. An entry or setting that the state does not have is taken as the same.

    Raises:
        InputError: naming what differs.
    """
    if state.get("heard") != heard:
        raise InputError(
            f"{path}: was trained on other clips or labels (another --seed, --folds, "
            "--labels, --protocol or --data), so it cannot be resumed; give the same ones, "
            "take another --out, or leave --resume away to start anew"
        )
    for entry, text in told.items():
        found = _difference(json.loads(state.get(entry, "{}")), json.loads(text))
        if found:
            name, was, wanted = found
            raise InputError(
                f"{path}: was trained with {name} {was}, not {wanted}, so it cannot be resumed; "
                "give the same flags, take another --out, or leave --resume away to start anew"
            )


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Name, old and new value of the first setting that both have and that differs."""
    for name in sorted(old.keys() & new.keys()):
        was, wanted = old[name], new[name]
        if isinstance(was, dict) and isinstance(wanted, dict):
            inner = _difference(was, wanted)
            if inner:
                return inner
        elif was != wanted:
            return name, was, wanted
    return None
