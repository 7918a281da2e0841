"""A stream that never ends: speech gate, utterances, steady state, gaps and holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import UsageError
from edge_ser.events import Event
from edge_ser.runtime.gate import Gate, SpeechGate
from edge_ser.runtime.hearing import Hearing
from edge_ser.runtime.live_source import BLOCK_MS
from edge_ser.runtime.recognizer import Recognizer
from edge_ser.runtime.smoothing import SmoothingSettings
from edge_ser.runtime.timing import Hook, clock
from edge_ser.runtime.utterances import Segmenter, UtteranceSettings

if TYPE_CHECKING:
    from edge_ser.runtime.live_hooks import LiveHooks
    from edge_ser.runtime.record import Recording

__all__ = ["LiveStream"]

_INT16_SCALE = np.float32(1.0 / 32768.0)


class LiveStream:
    """Runs the model only while somebody speaks; one utterance after the other.

    Samples are taken in order, cut at the windows of the gate; inside an utterance they go to
    the model as they arrive, so that a step never waits for a window. The same samples give
    the same events however they are cut into chunks. Each utterance begins with the state of
    a new stream (``Stream.restart``): its scores do not depend on what was said before. In
    silence only the gate runs, and of the audio no more than the look-back is kept.

    Used by one thread at a time.

    Args:
        recognizer: the loaded pack.
        stream_id: name that its events carry.
        gate: tells speech from silence; None for a :class:`SpeechGate`.
        utterances: when an utterance begins and ends.
        smoothing: when the state changes.
        hooks: told of the time of every stage and step.
        every: steps from one interval event to the next.

    Raises:
        UsageError: the gate hears another rate than the pack.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        stream_id: str = "stream0",
        *,
        gate: Gate | None = None,
        utterances: UtteranceSettings | None = None,
        smoothing: SmoothingSettings | None = None,
        hooks: Sequence[Hook] = (),
        every: int = 1,
    ) -> None:
        self._gate = gate if gate is not None else SpeechGate()
        if self._gate.rate_hz != recognizer.rate_hz:
            raise UsageError(
                f"the speech gate hears {self._gate.rate_hz} Hz, pack "
                f"{recognizer.manifest.name} takes {recognizer.rate_hz} Hz"
            )
        self._size = self._gate.window
        self._hearing = Hearing(
            recognizer, stream_id, smoothing, hooks=hooks, every=every, part=self._size
        )
        self.stream_id = stream_id
        self._segmenter = Segmenter(
            utterances or UtteranceSettings(),
            recognizer.rate_hz,
            grid=BLOCK_MS * recognizer.rate_hz // 1000,
        )
        self._rate = recognizer.rate_hz
        self._window = np.zeros(self._size, np.float32)
        self._filled = 0
        # Whole windows only: the ring holds what an utterance may reach back for.
        n_back = -(-self._segmenter.look_back // self._size) + 1
        self._ring = np.zeros(n_back * self._size, np.float32)
        self._now = 0  # samples of the stream so far, those of gaps and holds too
        self._window_begin = 0
        self._probability = 0.0
        self._held = False
        self._closed = False

    def record(self, recording: Recording) -> None:
        """Let ``recording`` have the features of every step and every event from now on."""
        self._hearing.record(recording)

    @property
    def hooks(self) -> LiveHooks | None:
        """To be told of what happens before and after this stream; None without hooks."""
        return self._hearing.hooks

    @property
    def speaking(self) -> bool:
        """Whether an utterance is open."""
        return self._segmenter.speaking

    @property
    def speech_probability(self) -> float:
        """Of the last whole window."""
        return self._probability

    @property
    def state(self) -> str | None:
        """The label after smoothing, None for none."""
        return self._hearing.state

    @property
    def audio_ms(self) -> float:
        """Time of the stream so far."""
        return self._ms(self._now)

    def started(self) -> Event:
        """The ``stream.started`` event."""
        return self.notice("stream.started", rate_hz=self._rate, gated=True)

    def notice(self, type: str, **detail: Any) -> Event:  # noqa: A002 - the event's own word
        """An event that is no emotion, with the next number of this stream."""
        return self._hearing.told([self._hearing.notice(type, **detail)])[0]

    def push(self, pcm: NDArray[Any]) -> list[Event]:
        """Take samples, as ``Stream.push`` does.

        Returns:
            ``utterance.start``, emotion, ``utterance.end`` and ``state.change`` events that
            became due, oldest first.

        Raises:
            InputError: as ``Stream.push``; nothing of this chunk was taken.
            UsageError: the stream was finished.
        """
        if self._closed:
            raise UsageError(f"stream {self.stream_id} is finished; open a new one")
        self._hearing.check(pcm)
        if not len(pcm):
            self._hearing.settle(old=True)
        if pcm.dtype == np.int16:
            samples = pcm * _INT16_SCALE
        else:
            samples = pcm.astype(np.float32, copy=False)
        if self._held:
            self._now += len(samples)
            self._window_begin = self._now
            return self._hearing.told(self._hearing.idle(self._now))
        events: list[Event] = []
        taken = 0
        while taken < len(samples):
            part = samples[taken : taken + self._size - self._filled]
            self._window[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            self._now += len(part)
            taken += len(part)
            if self._segmenter.speaking:
                events += self._hearing.feed(part, self._probability)
            if self._filled == self._size:
                events += self._decide()
        return self._hearing.told(events)

    def gap(self, n_samples: int, reason: str) -> list[Event]:
        """Tell that ``n_samples`` are missing; an open utterance ends here.

        Returns:
            The events of that end, then ``audio.gap``.
        """
        events = self._break("gap")
        self._now += n_samples
        self._restart_window()
        missing_ms = round(self._ms(n_samples), 3)
        return self._ending(events, "audio.gap", reason=reason, missing_ms=missing_ms)

    def hold(self, held: bool) -> list[Event]:
        """Stop or go on listening; time goes on, what is pushed while held is not heard."""
        if held == self._held:
            return []
        events = self._break("hold") if held else []
        self._held = held
        self._restart_window()
        return self._ending(events, "hold.start" if held else "hold.end")

    def interrupt(self, reason: str) -> list[Event]:
        """End an open utterance because its source is gone."""
        events = self._break(reason)
        self._restart_window()
        return self._hearing.told(events)

    def finish(self) -> list[Event]:
        """End the stream; an open utterance gets its final event.

        Returns:
            What became due, ``stream.ended`` last; nothing on a second call.
        """
        if self._closed:
            return []
        events = self._break("stream_ended")
        self._closed = True
        self._hearing.settle()
        return self._ending(events, "stream.ended")

    def _ending(self, events: list[Event], kind: str, **detail: Any) -> list[Event]:
        """``events`` and a last one that says where the stream is now."""
        last = self._hearing.notice(kind, **detail, audio_end_ms=round(self.audio_ms, 3))
        return self._hearing.told([*events, last])

    def _decide(self) -> list[Event]:
        """At the end of a window: ask the gate, cut."""
        hooks = self._hearing.hooks
        begin_ns = 0 if hooks is None else clock()
        self._probability = self._gate.probability(self._window)
        if hooks is not None:
            hooks.gated(clock() - begin_ns, self._segmenter.speaking)
        self._filled = 0
        self._ring[: -self._size] = self._ring[self._size :]
        self._ring[-self._size :] = self._window
        begin, self._window_begin = self._window_begin, self._now
        events: list[Event] = []
        for cut in self._segmenter.window(self._probability, begin, self._now):
            if cut.begins:
                begins = self._hearing.open(cut.sample, self._now, cut.reason, self._probability)
                events.append(begins)
                if back := self._now - cut.sample:
                    events += self._hearing.feed(self._ring[-back:], self._probability)
            else:
                events += self._hearing.end(cut.sample, cut.reason, self._probability)
        if not self._segmenter.speaking:
            events += self._hearing.idle(self._now)
        return events

    def _break(self, reason: str) -> list[Event]:
        if not self._segmenter.speaking:
            return []
        return self._hearing.end(self._now, reason, self._probability)

    def _restart_window(self) -> None:
        """After a break nothing from before may reach into the next utterance."""
        self._filled = 0
        self._window_begin = self._now
        self._segmenter.reset(self._now)
        self._gate.reset()
        self._probability = 0.0

    def _ms(self, samples: int) -> float:
        return 1000.0 * samples / self._rate
