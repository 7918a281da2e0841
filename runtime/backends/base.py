"""What the runtime asks of an inference engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Engine", "EngineGroup", "EngineStream", "OneByOne"]


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


class EngineGroup(Protocol):
    """The engine's side of several streams that take their steps in one call.

    Attributes:
        mel: ``(streams, n_mels, step_frames) float32``, to be filled before each step.
        at_once: whether one call of the model serves all streams.
    """

    mel: NDArray[np.float32]
    at_once: bool

    def step(self, resting: Sequence[int] = ()) -> NDArray[np.float32]:
        """Run one step of every stream but those in ``resting``, which stay as they are.

        Returns:
            ``(streams, labels) float32`` logits in a buffer that the next step overwrites;
            those of a resting stream mean nothing.
        """
        ...

    def reset(self, index: int) -> None:
        """Forget one stream, as if it had just begun."""
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

    def group(self, n_streams: int) -> EngineGroup:
        """State and buffers for ``n_streams`` new streams that take their steps together."""
        ...


class OneByOne:
    """A group for engines that take one stream at a time: the streams step in turn."""

    at_once = False

    def __init__(self, engine: Engine, n_streams: int) -> None:
        self._streams = [engine.stream() for _ in range(n_streams)]
        self.mel: NDArray[np.float32] = np.zeros(
            (n_streams, *self._streams[0].mel.shape[1:]), np.float32
        )
        self._logits: NDArray[np.float32] | None = None

    def step(self, resting: Sequence[int] = ()) -> NDArray[np.float32]:
        """Run one step of every stream but those in ``resting``."""
        logits = self._logits
        for index, (stream, mel) in enumerate(zip(self._streams, self.mel, strict=True)):
            if index in resting:
                continue
            stream.mel[0] = mel
            row = stream.step()
            if logits is None:
                logits = self._logits = np.zeros((len(self._streams), row.shape[1]), np.float32)
            logits[index] = row[0]
        if logits is None:
            raise ValueError("no stream of the group takes a step")
        return logits

    def reset(self, index: int) -> None:
        """Forget one stream."""
        self._streams[index].reset()
