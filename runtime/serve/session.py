"""One client's audio: bytes in, events out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import InputError
from edge_ser.events import Event
from edge_ser.runtime.hooks.deadline import DeadlineWatcher
from edge_ser.runtime.live import LiveStream
from edge_ser.runtime.recognizer import Recognizer
from edge_ser.runtime.smoothing import SmoothingSettings
from edge_ser.runtime.timing import Hook
from edge_ser.runtime.utterances import UtteranceSettings

__all__ = ["Session"]


class Session:
    """Raw s16le mono in pieces of any length, with the gate or as one utterance.

    Args:
        gated: cut into utterances by the speech gate; else everything is one utterance, as
            ``edge-ser run FILE`` does.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        stream_id: str,
        *,
        gated: bool,
        every: int = 1,
        hooks: Sequence[Hook] = (),
        utterances: UtteranceSettings | None = None,
        smoothing: SmoothingSettings | None = None,
    ) -> None:
        self._rest = b""
        self._rate = recognizer.rate_hz
        self._live: LiveStream | None = None
        self._deadlines = DeadlineWatcher()
        hooks = (*hooks, self._deadlines)
        if gated:
            self._live = LiveStream(
                recognizer,
                stream_id,
                utterances=utterances,
                smoothing=smoothing,
                hooks=hooks,
                every=every,
            )
        else:
            self._stream = recognizer.stream(stream_id, hooks=hooks, every=every)

    def started(self) -> Event:
        """The first event."""
        if self._live is not None:
            return self._live.started()
        return self._stream.notice("stream.started", rate_hz=self._rate, gated=False)

    def push(self, data: bytes) -> list[Event]:
        """Events that became due with ``data``; half a sample waits for its other half."""
        data = self._rest + data
        whole = len(data) // 2 * 2
        self._rest = data[whole:]
        return self.push_samples(np.frombuffer(data, "<i2", whole // 2))

    def push_samples(self, samples: NDArray[Any]) -> list[Event]:
        """Events that became due with samples as ``Stream.push`` takes them."""
        events = (self._live or self._stream).push(samples)
        return events + self._deadlines.events(self._live or self._stream)

    def error(self, reason: str, code: str) -> Event:
        """An ``error`` event."""
        return (self._live or self._stream).notice("error", code=code, reason=reason)

    def finish(self) -> list[Event]:
        """The last events.

        Raises:
            InputError: the data ended in the middle of a sample.
        """
        if self._rest:
            self._rest = b""
            raise InputError("the audio ended in the middle of a 16-bit sample; is it s16le?")
        if self._live is not None:
            return self._live.finish()
        final = self._stream.finish()
        late = self._deadlines.events(self._stream)
        end_ms = 0.0 if final is None else final.audio_end_ms
        ended = self._stream.notice("stream.ended", audio_end_ms=round(end_ms, 3))
        return [*late, ended] if final is None else [final, *late, ended]

    def close(self) -> None:
        """Let hooks hear the last steps of a stream that did not come to its end."""
        if self._live is not None:
            self._live.finish()
        else:
            self._stream.settle()
