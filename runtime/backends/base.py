"""What the runtime asks of an inference engine."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_ser.pack import StateSpec

__all__ = ["Engine", "EngineStream", "initial_state"]


class EngineStream(Protocol):
    """The engine's side of one stream: its input buffer and its state.

    Attributes:
        mel: ``(1, n_mels, step_frames) float32``, to be filled before each step.
    """

    mel: NDArray[np.float32]

    def step(self) -> NDArray[np.float32]:
        """Run one step on ``mel``.

        Returns:
            ``(1, labels) float32`` logits in a buffer that the next step overwrites.
        """
        ...

    def reset(self) -> None:
        """Forget the stream, as if it had just begun."""
        ...


class Engine(Protocol):
    """A loaded model; immutable, shared by all streams and threads.

    Attributes:
        backend: name of the engine that really computes.
        precision: of the model it computes.
    """

    backend: str
    precision: str

    def stream(self) -> EngineStream:
        """State and buffers for a new stream."""
        ...


def initial_state(spec: StateSpec) -> NDArray[Any]:
    """A new state tensor as it is before the stream begins."""
    return np.full(spec.shape, spec.before, spec.dtype)
