"""What samples of a live stream go through before and after the model, as stages of its steps."""

from __future__ import annotations

from edge_ser.runtime.timing import BLOCK_STEPS, Hooks

__all__ = ["LiveHooks"]


class LiveHooks:
    """Stands before the hooks of a stream and adds the stages that its steps do not know.

    ``gate`` is there always; ``capture``, ``publish`` and, where the source has another rate,
    ``resample`` once :meth:`arrived` was called. What was done for a step in several parts, as
    the windows of the gate are, is told as one that ends where the next stage begins. In
    silence there are no steps; the first step of an utterance has the gate's last window only.

    Args:
        hooks: of a stream whose stages are those of the model.
    """

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._model = hooks.stages
        hooks.rename(("gate", *self._model))
        self._sourced = self._resamples = False
        self._capture = self._resample = self._gate = 0  # since the step before
        self._last_resample = 0
        self._free = 0  # when the step before was over
        self._waiting: list[tuple[int, tuple[int, ...]]] = []  # steps that are not handed on
        self._settles = False

    def arrived(self, capture_ns: int, resample_ns: int | None) -> None:
        """Samples reach the stream; their events will be told of to :meth:`handed_on`.

        Args:
            capture_ns: time since the last of them was there, without the resampling.
            resample_ns: time that the resampler took; None where there is none.
        """
        resamples = resample_ns is not None
        if not self._sourced or resamples != self._resamples:
            self.handed_on(0)
            self._sourced, self._resamples = True, resamples
            before = ("capture", "resample", "gate") if resamples else ("capture", "gate")
            self._hooks.rename((*before, *self._model, "publish"))
        self._capture = capture_ns
        self._last_resample = resample_ns or 0
        self._resample += self._last_resample

    def gated(self, took_ns: int, speaking: bool) -> None:
        """The gate looked at a window.

        Args:
            took_ns: how long it took.
            speaking: whether an utterance was open; else no step had the windows before.
        """
        if not speaking:
            self._gate, self._resample = 0, self._last_resample
        self._gate += took_ns

    def record(self, step: int, times: tuple[int, ...]) -> None:
        """As ``Hooks.record``, with the stages of the model."""
        gate_at = times[0] - self._gate
        self._gate = 0
        if not self._sourced:
            self._hooks.record(step, (gate_at, *times))
            return
        resample_at = gate_at - self._resample
        # While the step before was at work the samples waited for it, and that is told there.
        start = resample_at - max(min(self._capture, resample_at - self._free), 0)
        self._capture = self._resample = 0
        self._free = times[-1]
        before = (start, resample_at, gate_at) if self._resamples else (start, gate_at)
        self._waiting.append((step, (*before, *times)))
        if len(self._waiting) >= BLOCK_STEPS:  # nobody says that events were handed on
            self.handed_on(0)

    def handed_on(self, took_ns: int) -> None:
        """The events of the last samples were handed on; their last step gets the time."""
        steps = self._waiting
        if steps:
            self._waiting = []
            step, last = steps.pop()
            for number, times in steps:
                self._hooks.record(number, (*times, times[-1]))
            self._free = last[-1] + took_ns
            self._hooks.record(step, (*last, self._free))
        if self._settles:
            self._settles = False
            self._hooks.settle()

    def settle(self) -> None:
        """As ``Hooks.settle``, once the events of the last samples are handed on."""
        if self._waiting:
            self._settles = True
        else:
            self._hooks.settle()

    def settle_old(self) -> None:
        """As ``Hooks.settle_old``."""
        self._hooks.settle_old()
