"""The model over one utterance after the other, and the state that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.events import Event
from edge_ser.runtime.recognizer import Recognizer
from edge_ser.runtime.smoothing import Smoother, SmoothingSettings
from edge_ser.runtime.timing import Hook

if TYPE_CHECKING:
    from edge_ser.runtime.record import Recording

__all__ = ["Hearing"]


class Hearing:
    """Samples of utterances in, emotion and state events out; knows no gate.

    Each utterance begins with the state of a new stream (``Stream.restart``).

    Args:
        part: samples that are given to the model at most at a time; no longer than a step.

    Attributes:
        hooks: to be told of what happens before and after the model; None without hooks.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        stream_id: str,
        smoothing: SmoothingSettings | None,
        *,
        hooks: Sequence[Hook],
        every: int,
        part: int,
    ) -> None:
        self._recognizer = recognizer
        self._stream = recognizer.stream(stream_id, hooks=hooks, every=every)
        self.hooks = self._stream.live_hooks()
        self._smoother = Smoother(smoothing)
        self._part = part
        self._ms_per_sample = 1000.0 / recognizer.rate_hz
        self._verdicts: list[tuple[int, list[float]]] = []
        self._begin = 0
        self._n_utterances = 0
        self._recording: Recording | None = None

    @property
    def state(self) -> str | None:
        """The label after smoothing, None for none."""
        return self._smoother.label

    def check(self, pcm: NDArray[Any]) -> None:
        """Raise InputError unless ``pcm`` can be fed."""
        self._stream.check(pcm)

    def record(self, recording: Recording) -> None:
        """Let ``recording`` have the features of every step and every event from now on."""
        from edge_ser.runtime.record import identity

        recording.head(identity(self._recognizer))
        self._recording = recording

    def told(self, events: list[Event]) -> list[Event]:
        """The same events, which are in the recording now, if there is one."""
        if self._recording is not None:
            for event in events:
                self._recording.event(event)
        return events

    def notice(self, type: str, **detail: Any) -> Event:  # noqa: A002 - the event's own word
        """An event that is no emotion, with the next number of the stream."""
        return self._stream.notice(type, **detail)

    def settle(self, *, old: bool = False) -> None:
        """Tell hooks what they were not told yet; ``old`` if it has waited for two seconds."""
        if old:
            self._stream.settle_old()
        else:
            self._stream.settle()

    def open(self, begin: int, now: int, reason: str, speech_probability: float) -> Event:
        """Begin an utterance at sample ``begin``, at sample ``now``: its ``utterance.start``."""
        self._n_utterances += 1
        self._begin = begin
        self._verdicts.clear()
        utterance = f"u{self._n_utterances}"
        self._stream.restart(utterance, begin)
        if self._recording is not None:
            self._recording.utterance(utterance, begin)
        start = self.notice(
            "utterance.start",
            audio_start_ms=self._ms(begin),
            audio_end_ms=self._ms(now),
            speech_probability=round(speech_probability, 4),
            reason=reason,
        )
        start.utterance_id = utterance
        return start

    def feed(self, samples: NDArray[np.float32], speech_probability: float) -> list[Event]:
        """Samples of the open utterance to the model."""
        events: list[Event] = []
        for taken in range(0, len(samples), self._part):
            heard = self._stream.heard
            due = self._stream.push(samples[taken : taken + self._part])
            if self._stream.heard > heard:
                self._verdicts.append((self._stream.heard, self._stream.probabilities))
                if self._recording is not None:
                    self._recording.step(self._stream.mel, self._stream.probabilities)
            for event in due:
                events += self._with_change(event, speech_probability)
        return events

    def end(self, end: int, reason: str, speech_probability: float) -> list[Event]:
        """The final event, which speaks for ``[begin, end)``, and ``utterance.end``."""
        length = end - self._begin
        within = [verdict for verdict in self._verdicts if verdict[0] <= length]
        if within or self._verdicts:
            # The first step may be longer than what was said.
            heard, probabilities = within[-1] if within else self._verdicts[0]
            final: Event | None = self._stream.conclude(probabilities, max(length, heard))
        else:
            final = self._stream.finish()
        events = [] if final is None else self._with_change(final, speech_probability)
        ended = self.notice(
            "utterance.end",
            audio_start_ms=self._ms(self._begin),
            audio_end_ms=self._ms(end),
            reason=reason,
        )
        ended.utterance_id = f"u{self._n_utterances}"
        return [*events, ended]

    def idle(self, now: int) -> list[Event]:
        """What follows from nobody speaking at sample ``now``."""
        change = self._smoother.silence(now * self._ms_per_sample)
        return [self.notice("state.change", **change)] if change else []

    def _with_change(self, event: Event, speech_probability: float) -> list[Event]:
        event.speech_probability = round(speech_probability, 4)
        change = self._smoother.hear(event)
        if change is None:
            return [event]
        notice = self.notice("state.change", **change)
        notice.utterance_id = event.utterance_id
        return [event, notice]

    def _ms(self, samples: int) -> float:
        return round(samples * self._ms_per_sample, 3)
