"""What a build is asked for, and what can be known wrong about it before it starts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edge_ser.errors import UsageError

__all__ = ["PRECISIONS", "RTX_CAPABILITIES", "BuildSettings", "parse_capabilities"]

PRECISIONS = ("auto", "int8", "mixed", "fp16", "fp32")
"""``int8`` puts INT8 products into an FP32 graph, ``mixed`` into an FP16 graph."""

RTX_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""Compute capabilities that TensorRT for RTX builds for."""


@dataclass(frozen=True)
class BuildSettings:
    """Settings of one build.

    Attributes:
        compute_capabilities: GPUs to build for; for TensorRT the one of this machine.
        int8: the network has Q/DQ.
        half: the network is FP16.
        workspace_mb: most GPU memory that a layer may use as scratch.
        memory_mb: most GPU memory that the builder may use for trying kernels; None for all.
        optimization_level: 0 (quick) to 5 (tries most); 3 is TensorRT's own default.
        timing_cache: file that keeps kernel timings between builds, TensorRT only.
    """

    compute_capabilities: tuple[str, ...]
    int8: bool
    half: bool
    workspace_mb: int = 256
    memory_mb: int | None = None
    optimization_level: int = 3
    timing_cache: str | None = None

    def __post_init__(self) -> None:
        if self.workspace_mb < 1:
            raise UsageError(f"--workspace-mb must be 1 or more, got {self.workspace_mb}")
        if self.memory_mb is not None and self.memory_mb < self.workspace_mb:
            raise UsageError(
                f"--memory-mb {self.memory_mb} is less than --workspace-mb {self.workspace_mb}"
            )
        if not 0 <= self.optimization_level <= 5:
            raise UsageError(f"--optimization-level is 0 to 5, got {self.optimization_level}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BuildSettings:
        """The settings in ``values``."""
        capabilities = tuple(values["compute_capabilities"])
        return cls(**{**values, "compute_capabilities": capabilities})


def parse_capabilities(values: Sequence[str]) -> tuple[str, ...]:
    """``["8.6", "8.9,12.0"]`` as sorted compute capabilities.

    Raises:
        UsageError: one of them is no compute capability.
    """
    found: set[str] = set()
    for value in values:
        for item in filter(None, re.split(r"[,\s]+", value)):
            match = re.fullmatch(r"(?:sm_?)?(\d{1,2})\.?(\d)", item, re.IGNORECASE)
            if match is None:
                raise UsageError(
                    f"--compute-capability {item!r} is none; write it like 8.6 (RTX 30), "
                    "8.9 (RTX 40), 12.0 (RTX 50)"
                )
            found.add(f"{match[1]}.{match[2]}")
    return tuple(sorted(found, key=lambda item: tuple(map(int, item.split(".")))))
