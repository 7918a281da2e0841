"""Whether this training is one process or one of several that ``torchrun`` started."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import cache
from typing import Any

__all__ = ["engine", "is_first", "wait_for_first"]


_PATIENCE = timedelta(days=7)
"""How long a process waits for the others: the first one may compute features for hours."""


def _world() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


@cache
def engine() -> Any:
    """The launched ``lightning_fabric.Fabric`` of this process.

    Alone it takes the best device. Under ``torchrun`` there is one process for each device of
    each machine; gloo connects them on CPUs, NCCL on GPUs.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    if _world() == 1:
        return Fabric(accelerator="auto", devices=1)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator="auto",
        devices=here,
        num_nodes=_world() // here,
        strategy=DDPStrategy(timeout=_PATIENCE),
    )
    fabric.launch()
    return fabric


def is_first() -> bool:
    """Whether this process is alone or the one that reports and writes results."""
    return _world() == 1 or os.environ.get("RANK", "0") == "0"


def wait_for_first() -> None:
    """Wait until the first process has come this far; no wait when alone."""
    if _world() > 1:
        engine().barrier()
