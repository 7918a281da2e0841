"""A stream that never ends: speech gate, utterances, steady state, gaps and holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import UsageError
from edge_ser.events import Event
from edge_ser.runtime.gate import Gate, SpeechGate
from edge_ser.runtime.recognizer import Recognizer
from edge_ser.runtime.smoothing import Smoother, SmoothingSettings
from edge_ser.runtime.timing import Hook
from edge_ser.runtime.utterances import Cut, Segmenter, UtteranceSettings

if TYPE_CHECKING:
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
        self._stream = recognizer.stream(stream_id, hooks=hooks, every=every)
        self.stream_id = stream_id
        self._segmenter = Segmenter(utterances or UtteranceSettings(), recognizer.rate_hz)
        self._smoother = Smoother(smoothing)
        self._rate = recognizer.rate_hz
        self._step = recognizer.manifest.frontend.step_samples
        self._size = self._gate.window
        self._window = np.zeros(self._size, np.float32)
        self._filled = 0
        # Whole windows only: the ring holds what an utterance may reach back for.
        self._n_back = -(-self._segmenter.look_back // self._size) + 1
        self._ring = np.zeros(self._n_back * self._size, np.float32)
        self._now = 0  # samples of the stream so far, those of gaps and holds too
        self._window_begin = 0
        self._probability = 0.0
        self._n_utterances = 0
        self._verdicts: list[tuple[int, list[float]]] = []
        self._begin = 0
        self._held = False
        self._closed = False
        self._recognizer = recognizer
        self._recording: Recording | None = None

    def record(self, recording: Recording) -> None:
        """Let ``recording`` have the features of every step and every event from now on."""
        from edge_ser.runtime.record import identity

        recording.head(identity(self._recognizer))
        self._recording = recording

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
        return self._smoother.label

    @property
    def audio_ms(self) -> float:
        """Time of the stream so far."""
        return self._ms(self._now)

    def started(self) -> Event:
        """The ``stream.started`` event."""
        return self._stream.notice("stream.started", rate_hz=self._rate, gated=True)

    def notice(self, type: str, **detail: Any) -> Event:  # noqa: A002 - the event's own word
        """An event that is no emotion, with the next number of this stream."""
        return self._stream.notice(type, **detail)

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
        self._stream.check(pcm)
        if pcm.dtype == np.int16:
            samples = pcm * _INT16_SCALE
        else:
            samples = pcm.astype(np.float32, copy=False)
        if self._held:
            self._now += len(samples)
            self._window_begin = self._now
            return self._told(self._idle())
        events: list[Event] = []
        taken = 0
        while taken < len(samples):
            part = samples[taken : taken + self._size - self._filled]
            self._window[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            self._now += len(part)
            taken += len(part)
            if self._segmenter.speaking:
                self._feed(part, events)
            if self._filled == self._size:
                self._decide(events)
        return self._told(events)

    def gap(self, n_samples: int, reason: str) -> list[Event]:
        """Tell that ``n_samples`` are missing; an open utterance ends here.

        Returns:
            The events of that end, then ``audio.gap``.
        """
        events = self._break("gap")
        self._now += n_samples
        self._restart_window()
        missing_ms = round(self._ms(n_samples), 3)
        events.append(
            self.notice(
                "audio.gap",
                reason=reason,
                missing_ms=missing_ms,
                audio_end_ms=round(self._ms(self._now), 3),
            )
        )
        return self._told(events)

    def hold(self, held: bool) -> list[Event]:
        """Stop or go on listening; time goes on, what is pushed while held is not heard."""
        if held == self._held:
            return []
        events = self._break("hold") if held else []
        self._held = held
        self._restart_window()
        kind = "hold.start" if held else "hold.end"
        events.append(self.notice(kind, audio_end_ms=round(self._ms(self._now), 3)))
        return self._told(events)

    def interrupt(self, reason: str) -> list[Event]:
        """End an open utterance because its source is gone."""
        events = self._break(reason)
        self._restart_window()
        return self._told(events)

    def finish(self) -> list[Event]:
        """End the stream; an open utterance gets its final event.

        Returns:
            What became due, ``stream.ended`` last; nothing on a second call.
        """
        if self._closed:
            return []
        events = self._break("stream_ended")
        self._closed = True
        events.append(self.notice("stream.ended", audio_end_ms=round(self._ms(self._now), 3)))
        return self._told(events)

    def _told(self, events: list[Event]) -> list[Event]:
        if self._recording is not None:
            for event in events:
                self._recording.event(event)
        return events

    def _decide(self, events: list[Event]) -> None:
        """At the end of a window: ask the gate, cut."""
        self._probability = self._gate.probability(self._window)
        self._filled = 0
        self._ring[: -self._size] = self._ring[self._size :]
        self._ring[-self._size :] = self._window
        begin, self._window_begin = self._window_begin, self._now
        for cut in self._segmenter.window(self._probability, begin, self._now):
            if cut.begins:
                self._open(cut, events)
            else:
                self._end(cut.sample, cut.reason, events)
        if not self._segmenter.speaking:
            events.extend(self._idle())

    def _open(self, cut: Cut, events: list[Event]) -> None:
        self._n_utterances += 1
        self._begin = cut.sample
        self._verdicts.clear()
        utterance = f"u{self._n_utterances}"
        self._stream.restart(utterance, cut.sample)
        if self._recording is not None:
            self._recording.utterance(utterance, cut.sample)
        start = self.notice(
            "utterance.start",
            audio_start_ms=round(self._ms(cut.sample), 3),
            speech_probability=round(self._probability, 4),
            reason=cut.reason,
        )
        start.utterance_id = utterance
        events.append(start)
        back = self._now - cut.sample
        if back:
            self._feed(self._ring[-back:], events)

    def _feed(self, samples: NDArray[np.float32], events: list[Event]) -> None:
        """Samples of an open utterance to the model, at most one step at a time."""
        taken = 0
        while taken < len(samples):
            heard = self._stream.heard
            part = samples[taken : taken + self._size]
            taken += len(part)
            due = self._stream.push(part)
            if self._stream.heard > heard:
                self._verdicts.append((self._stream.heard, self._stream.probabilities))
                if self._recording is not None:
                    self._recording.step(self._stream.mel, self._stream.probabilities)
            for event in due:
                event.speech_probability = round(self._probability, 4)
                events.append(event)
                self._smooth(event, events)

    def _end(self, end: int, reason: str, events: list[Event]) -> None:
        """The final event speaks for ``[begin, end)``, not for the silence behind it."""
        length = end - self._begin
        within = [verdict for verdict in self._verdicts if verdict[0] <= length]
        if within or self._verdicts:
            # The first step may be longer than what was said.
            heard, probabilities = within[-1] if within else self._verdicts[0]
            final: Event | None = self._stream.conclude(probabilities, max(length, heard))
        else:
            final = self._stream.finish()
        if final is not None:
            final.speech_probability = round(self._probability, 4)
            events.append(final)
            self._smooth(final, events)
        ended = self.notice(
            "utterance.end",
            audio_start_ms=round(self._ms(self._begin), 3),
            audio_end_ms=round(self._ms(end), 3),
            reason=reason,
        )
        ended.utterance_id = f"u{self._n_utterances}"
        events.append(ended)

    def _break(self, reason: str) -> list[Event]:
        events: list[Event] = []
        if self._segmenter.speaking:
            self._end(self._now, reason, events)
        return events

    def _restart_window(self) -> None:
        """After a break nothing from before may reach into the next utterance."""
        self._filled = 0
        self._window_begin = self._now
        self._segmenter.reset(self._now)
        self._gate.reset()
        self._probability = 0.0

    def _smooth(self, event: Event, events: list[Event]) -> None:
        if change := self._smoother.hear(event):
            notice = self.notice("state.change", **change)
            notice.utterance_id = event.utterance_id
            events.append(notice)

    def _idle(self) -> list[Event]:
        change = self._smoother.silence(self._ms(self._now))
        return [self.notice("state.change", **change)] if change else []

    def _ms(self, samples: int) -> float:
        return 1000.0 * samples / self._rate
