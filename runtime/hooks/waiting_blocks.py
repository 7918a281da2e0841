"""Blocks of steps that wait until it pays to look at them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import numpy as np

from edge_ser.runtime.step_block import StepBlock

__all__ = ["WaitingBlocks"]


class WaitingBlocks:
    """Keeps blocks and hands on many of one stream as one; safe to use from several threads.

    A live stream tells of a dozen steps at a time, and what array operations cost on so few is
    nearly all overhead.

    Args:
        handle: gets the joined blocks of one stream, in order; one call at a time.
        steps: that wait at most, of all streams together.
    """

    def __init__(self, handle: Callable[[StepBlock], None], steps: int) -> None:
        self._handle, self._most = handle, steps
        self._blocks: deque[StepBlock] = deque()  # takes blocks without a lock
        self._steps = 0
        self._settling = threading.Lock()

    def add(self, block: StepBlock) -> None:
        """One more block."""
        self._blocks.append(block)
        self._steps += len(block.times)
        if self._steps >= self._most:
            self.settle()

    def settle(self) -> None:
        """Hand on what waits."""
        with self._settling:
            self._steps = 0
            streams: dict[tuple[str, tuple[str, ...]], list[StepBlock]] = {}
            for _ in range(len(self._blocks)):
                block = self._blocks.popleft()
                streams.setdefault((block.stream_id, block.stages), []).append(block)
            for blocks in streams.values():
                begin = 0
                for i in range(1, len(blocks) + 1):
                    # Two streams may have one name; what does not follow is no part of one.
                    if i == len(blocks) or blocks[i].first != blocks[i - 1].end:
                        self._handle(_joined(blocks[begin:i]))
                        begin = i


def _joined(blocks: list[StepBlock]) -> StepBlock:
    first = blocks[0]
    if len(blocks) == 1:
        return first
    late = [block.first - first.first + row for block in blocks for row in block.late]
    times = np.concatenate([block.times for block in blocks])
    return StepBlock(first.stream_id, first.first, first.deadline_ns, first.stages, times, late)
