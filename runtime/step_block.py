"""The time of many steps as one table, for hooks that rather hear of them together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["StepBlock"]


class StepBlock:
    """Some steps of one stream that follow each other, told of at once; not to be changed.

    Args:
        times: as the attribute.
        late: as the attribute, where it is known already.

    Attributes:
        stream_id: name of the stream.
        first: number of the first of these steps in its stream.
        deadline_ns: how long a step may take to keep up with live audio.
        stages: names of the stages of a step, in order.
        times: ``(steps, stages + 1) int64``, when a step began, then when each stage ended
            (``perf_counter_ns``).
        late: rows of the steps that took longer than the deadline.
    """

    __slots__ = ("_durations_ns", "deadline_ns", "first", "late", "stages", "stream_id", "times")

    def __init__(
        self,
        stream_id: str,
        first: int,
        deadline_ns: int,
        stages: tuple[str, ...],
        times: NDArray[np.int64],
        late: list[int] | None = None,
    ) -> None:
        self.stream_id, self.first, self.deadline_ns = stream_id, first, deadline_ns
        self.stages, self.times = stages, times
        self._durations_ns: NDArray[np.int64] | None = None
        if late is None:
            late = (times[:, -1] - times[:, 0] > deadline_ns).nonzero()[0].tolist()
        self.late: list[int] = late

    @property
    def end(self) -> int:
        """Number of the step after these."""
        return self.first + len(self.times)

    @property
    def starts_ns(self) -> NDArray[np.int64]:
        """``(steps, stages) int64``, when each stage began."""
        return self.times[:, :-1]

    @property
    def durations_ns(self) -> NDArray[np.int64]:
        """``(steps, stages + 1) int64``, of each stage, then of the whole step; not negative."""
        durations = self._durations_ns
        if durations is None:
            times = self.times
            durations = np.empty_like(times)
            np.subtract(times[:, 1:], times[:, :-1], durations[:, :-1])
            np.subtract(times[:, -1], times[:, 0], durations[:, -1])
            self._durations_ns = np.maximum(durations, 0, out=durations)
        return durations
