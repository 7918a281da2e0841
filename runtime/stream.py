"""One microphone's way from samples to events."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edge_ser.errors import InputError, UsageError
from edge_ser.events import Event, Latency
from edge_ser.pack import Manifest
from edge_ser.runtime.backends import Engine
from edge_ser.runtime.hook_faults import HookFaults
from edge_ser.runtime.timing import Hook, Hooks, clock
from edge_ser.runtime.verdict import Verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_ser.runtime.live_hooks import LiveHooks

__all__ = ["FULL_SCALE", "Stream"]

_INT16 = np.dtype(np.int16)
FULL_SCALE = 32768.0
"""Of the front end, so that 16-bit samples are taken as they are."""
_LARGEST_SAMPLE = 1e6  # far beyond -1..1 and even int16 units, far from overflow in a square


class FrontEndStream(Protocol):
    """Features of one stream, see ``edge_ser.frontend.StreamingLogMel``.

    Attributes:
        samples: ``(step_samples,) float32``, to be filled before each step.
    """

    samples: NDArray[np.float32]

    def advance(self, out: NDArray[np.float32]) -> None:
        """Write the features of a step into ``out``."""
        ...

    def reset(self) -> None:
        """Forget the stream."""
        ...


class FrontEnd(Protocol):
    """What makes the features of streams, see ``edge_ser.frontend.LogMel``."""

    def stream(self, full_scale: float) -> FrontEndStream:
        """Features of a new stream, of samples in ``-full_scale..full_scale``."""
        ...


class Stream:
    """Owns all state of one microphone; used by one thread at a time, any thread.

    Made by ``Recognizer.stream``. The same samples give the same events however they are
    cut into chunks.
    """

    def __init__(
        self,
        manifest: Manifest,
        engine: Engine,
        front_end: FrontEnd,
        stream_id: str,
        *,
        hooks: Sequence[Hook],
        every: int,
        faults: HookFaults | None = None,
    ) -> None:
        if every < 1:
            raise UsageError(f"events come every 1 or more steps, got {every}")
        spec = manifest.frontend
        self.stream_id = stream_id
        self._labels = manifest.labels
        self._verdict = Verdict(manifest.calibration, spec.step_ms / 1000.0)
        self._abstain_below = manifest.calibration.abstain_below
        self._pack, self._backend, self._precision = manifest.name, engine.backend, engine.precision
        self._size = spec.step_samples
        self._ms_per_sample = 1000.0 / spec.rate_hz
        self._deadline_ns = round(1e6 * spec.step_ms)
        self._mel = front_end.stream(FULL_SCALE)
        self._samples = self._mel.samples
        self._engine = engine.stream()
        self._mel_out: NDArray[np.float32] = self._engine.mel[0]
        self._filled = 0
        self._steps = 0
        self._heard = 0  # samples, the zeros that fill up the last step not counted
        self._seq = 0
        self._every = every
        stages = ("frontend", "infer", "post")
        self._own_hooks = Hooks(hooks, stream_id, self._deadline_ns, stages, faults)
        self._hooks: Hooks | LiveHooks = self._own_hooks
        self._hooked = bool(hooks)
        self._times = (0, 0, 0, 0)  # of the last step, as hooks are told
        self.done_ns = 0
        """When the last step was concluded (``perf_counter_ns``)."""
        self._latency = Latency()
        self._closed = False
        self._ended = False  # the final event of the utterance was made
        self._utterance_id = "u1"
        self._begin = 0  # sample of the stream at which the utterance begins

    def restart(self, utterance_id: str, begin: int) -> None:
        """Begin another utterance with the state of a new stream.

        Its scores are those of a fresh stream fed with its samples alone. Numbers of steps
        and events go on.

        Args:
            utterance_id: what its events carry.
            begin: sample of the stream at which it begins; times count from the stream's start.
        """
        self._mel.reset()
        self._engine.reset()
        self._filled = self._heard = 0
        self._verdict.reset()
        self._utterance_id, self._begin = utterance_id, begin
        self._closed = self._ended = False

    @property
    def heard(self) -> int:
        """Samples of this utterance that went through the model so far."""
        return self._heard

    @property
    def probabilities(self) -> list[float]:
        """Of every label after the last step of this utterance; empty before the first."""
        return self._verdict.probabilities

    def conclude(self, probabilities: list[float], heard: int) -> Event:
        """The final event of an utterance that ended earlier than the samples pushed.

        Args:
            probabilities: what the model said at the end of the utterance.
            heard: its length in samples.
        """
        self._closed = self._ended = True
        self._heard = heard
        self._verdict.restore(probabilities, -(-heard // self._size))
        self._verdict.conclude()
        self.settle()
        return self._event("speech_ended")

    @property
    def mel(self) -> NDArray[np.float32]:
        """Features of the last step, ``(n_mels, step_frames)``; overwritten by the next."""
        return self._mel_out

    def step_features(self, mel: NDArray[np.float32]) -> list[float]:
        """Probabilities after a step on features ``(n_mels, step_frames) float32``."""
        self._mel_out[...] = mel
        return self._verdict.step(self._engine.step()[0].tolist())

    def push(self, pcm: NDArray[Any]) -> list[Event]:
        """Take samples, run every step that they complete.

        Args:
            pcm: ``(n,)`` mono samples at the pack's rate, ``int16``, or floating point in
                -1..1; any length, also none.

        Returns:
            The events that became due, oldest first.

        Raises:
            InputError: wrong dtype or shape, or a sample that is NaN, infinite or beyond
                all bounds; nothing of this chunk was taken.
            UsageError: the stream was finished.
        """
        self.check_open()
        self.check(pcm)
        events: list[Event] = []
        taken, n, size = 0, len(pcm), self._size
        if not n:
            self.settle_old()
        while taken < n:
            taken += self.fill(pcm, taken)
            if self._filled == size:
                event = self._step(None)
                if event is not None:
                    events.append(event)
        return events

    def check_open(self) -> None:
        """Raise UsageError when the stream was finished."""
        if self._closed:
            raise UsageError(f"stream {self.stream_id} is finished; open a new one")

    def fill(self, pcm: NDArray[Any], start: int) -> int:
        """Take samples of ``pcm`` from ``start`` on until a step is full.

        Returns:
            How many were taken.
        """
        begin, room = self._filled, self._samples
        if begin or start or len(pcm) != self._size:
            pcm = pcm[start : start + self._size - begin]
            room = room[begin : begin + len(pcm)]
        room[...] = pcm
        if pcm.dtype != _INT16:
            room *= FULL_SCALE
        self._filled = begin + len(pcm)
        return len(pcm)

    @property
    def full(self) -> bool:
        """Whether the samples for a step are there."""
        return self._filled == self._size

    def finish(self) -> Event | None:
        """End the stream; what is left of a step is filled up with silence.

        Returns:
            The final event, which speaks for the whole utterance; None if nothing was heard.
        """
        return self._step("speech_ended") if self.end() else self.last_word()

    def end(self) -> bool:
        """Take no more samples; whether a last step, filled up with silence, is due."""
        if self._closed:
            self._ended = True
            return False
        self._closed = True
        self._samples[self._filled :] = 0.0
        return self._filled > 0

    def last_word(self) -> Event | None:
        """The final event when no step is left to take; None if there is nothing to tell."""
        self.settle()
        if self._ended or not self._verdict.probabilities:
            return None
        self._ended = True
        self._verdict.conclude()
        return self._event("speech_ended")

    def settle(self) -> None:
        """Tell hooks that take blocks of steps what they were not told yet."""
        self._hooks.settle()

    def settle_old(self) -> None:
        """The same if it has waited for two seconds; for while no samples come."""
        self._hooks.settle_old()

    def live_hooks(self) -> LiveHooks | None:
        """What to tell of the further stages of a live stream; None without hooks."""
        if not self._hooked:
            return None
        from edge_ser.runtime.live_hooks import LiveHooks

        self._hooks = live = LiveHooks(self._own_hooks)
        return live

    def notice(self, type: str, **detail: Any) -> Event:  # noqa: A002 - the event's own word
        """An event that is no emotion, with the next number of this stream."""
        self._seq += 1
        return Event(
            type=type,
            seq=self._seq,
            stream_id=self.stream_id,
            t_mono_ns=time.monotonic_ns(),
            backend=self._backend,
            precision=self._precision,
            pack=self._pack,
            detail=detail,
        )

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed = True
        self.settle()

    def check(self, pcm: NDArray[Any]) -> None:
        """Raise InputError unless ``pcm`` can be pushed."""
        where = f"stream {self.stream_id}"
        if not isinstance(pcm, np.ndarray) or pcm.ndim != 1:
            shape = getattr(pcm, "shape", None)
            raise InputError(
                f"{where}: samples must be a one-dimensional numpy array, got "
                f"{type(pcm).__name__}{'' if shape is None else f' of shape {shape}'}; "
                "mix channels to mono first (edge_ser.audio.mix_to_mono)"
            )
        if pcm.dtype == _INT16:
            return
        if pcm.dtype.kind != "f":
            raise InputError(
                f"{where}: samples must be int16 or floating point in -1..1, got {pcm.dtype}"
            )
        # One pass without a temporary; the slow look only when something is wrong. As a Python
        # number, because in half precision the bound itself would be infinite.
        with np.errstate(over="ignore"):
            energy = float(np.dot(pcm, pcm))
        if not energy <= _LARGEST_SAMPLE:
            from edge_ser.audio import check_finite

            check_finite(pcm, where)
            peak = float(np.abs(pcm).max())
            if peak > _LARGEST_SAMPLE:
                raise InputError(
                    f"{where}: a sample is {peak:g}; floating point samples lie in -1..1"
                )

    def _step(self, trigger: str | None) -> Event | None:
        begin = clock()
        self._mel.advance(self._mel_out)
        featured = clock()
        logits = self._engine.step()[0].tolist()
        inferred = clock()
        event = self.conclude_step(trigger, logits, begin, featured, inferred)
        self.tell()
        return event

    def conclude_step(
        self,
        trigger: str | None,
        logits: list[float],
        begin: int,
        featured: int,
        inferred: int,
        turn: int | None = None,
    ) -> Event | None:
        """Make the event of a step that the model has taken, if one is due.

        Hooks are told by :meth:`tell`.

        Args:
            trigger: of the event; None for one in its turn.
            logits: of every label.
            begin: when the step began (``perf_counter_ns``).
            featured: when its features were there.
            inferred: when its logits were there.
            turn: when it was this stream's turn to make its event, if not at once; what passed
                between belongs to other streams and is not counted.
        """
        self._heard += self._filled
        self._filled = 0
        self._verdict.step(logits)
        self._steps = following = self._steps + 1
        event = None
        if trigger is not None:
            self._ended = True
            self._verdict.conclude()
            event = self._event(trigger)
        elif following % self._every == 0:
            event = self._event("interval")
        self.done_ns = end = clock()
        if turn is not None:
            end -= turn - inferred
        if not begin <= featured <= inferred <= end:  # the clock was set back
            featured = max(begin, featured)
            inferred = max(featured, inferred)
            end = max(inferred, end)
        latency = Latency(
            (featured - begin) * 1e-6,
            (inferred - featured) * 1e-6,
            (end - inferred) * 1e-6,
            (end - begin) * 1e-6,
        )
        self._latency = latency
        if event is not None:
            event.latency_ms = latency
        self._times = begin, featured, inferred, end
        return event

    def tell(self) -> None:
        """Tell hooks of the step that was concluded last."""
        if self._hooked:
            self._hooks.record(self._steps - 1, self._times)
            if self._ended:
                self._hooks.settle()

    def _event(self, trigger: str) -> Event:
        probabilities = self._verdict.probabilities
        confidence = max(probabilities)
        self._seq = seq = self._seq + 1
        # By position: naming so many arguments takes longer than making the event.
        return Event(
            "emotion",
            seq,
            self.stream_id,
            time.monotonic_ns(),
            self._utterance_id,
            trigger,
            trigger == "speech_ended",
            self._begin * self._ms_per_sample,
            (self._begin + self._heard) * self._ms_per_sample,
            self._labels[probabilities.index(confidence)],
            confidence,
            confidence < self._abstain_below,
            dict(zip(self._labels, probabilities, strict=True)),
            None,
            self._latency,
            self._backend,
            self._precision,
            self._pack,
        )
