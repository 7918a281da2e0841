"""Cuts a stream into utterances from the probability of speech of its windows."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

from edge_ser.errors import UsageError

__all__ = ["Cut", "Segmenter", "UtteranceSettings"]


@dataclass(frozen=True)
class UtteranceSettings:
    """When an utterance begins and ends, with the names that silero and sherpa-onnx use.

    Attributes:
        threshold: probability from which a window counts as speech.
        neg_threshold: probability under which it counts as silence.
        min_speech_ms: speech that must be there before an utterance is announced.
        min_silence_ms: silence that ends it.
        pad_ms: audio before the first and after the last speech that belongs to it.
        max_speech_ms: after so long it is ended, and the next begins without a gap.
    """

    threshold: float = 0.5
    neg_threshold: float = 0.35
    min_speech_ms: float = 200.0
    min_silence_ms: float = 500.0
    pad_ms: float = 100.0
    max_speech_ms: float = 15_000.0

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, astuple(self))):
            raise UsageError("what the speech gate is told must be finite numbers")
        if not 0 < self.neg_threshold <= self.threshold < 1:
            raise UsageError(
                "the speech gate needs 0 < neg-threshold <= threshold < 1, "
                f"got {self.neg_threshold} and {self.threshold}"
            )
        if min(self.min_speech_ms, self.min_silence_ms, self.pad_ms) < 0:
            raise UsageError("times of the speech gate cannot be negative")
        if self.max_speech_ms < self.min_speech_ms + 2 * self.pad_ms + 100:
            raise UsageError(
                f"max-speech-ms {self.max_speech_ms:g} leaves no room for min-speech-ms "
                f"{self.min_speech_ms:g} and twice pad-ms {self.pad_ms:g}"
            )


@dataclass(frozen=True)
class Cut:
    """A begin or an end of an utterance.

    Attributes:
        begins: whether it begins one.
        sample: its place in the stream, padding included.
        reason: ``speech`` for a begin, ``silence`` or ``max_speech`` for an end,
            ``continued`` for the begin that follows ``max_speech``.
    """

    begins: bool
    sample: int
    reason: str


class Segmenter:
    """Windows in, cuts out; knows no audio.

    The rules are those of Silero's ``VADIterator`` with the minimum length of speech asked
    for before the begin is told rather than after the end.

    Args:
        settings: when an utterance begins and ends.
        rate_hz: of the samples.
        grid: utterances begin at a multiple of so many samples after the last :meth:`reset`.
    """

    def __init__(self, settings: UtteranceSettings, rate_hz: int, grid: int = 1) -> None:
        self._settings = settings
        self._grid = grid

        def samples(ms: float) -> int:
            return round(ms * rate_hz / 1000)

        self._min_speech = samples(settings.min_speech_ms)
        self._min_silence = samples(settings.min_silence_ms)
        self._pad = samples(settings.pad_ms)
        self._max = samples(settings.max_speech_ms)
        self.look_back = self._pad + self._min_speech + samples(settings.min_silence_ms) + grid
        """Samples before the present that a begin may reach back, at most."""
        self.reset(0)

    @property
    def speaking(self) -> bool:
        """Whether an utterance is open."""
        return self._open is not None

    def reset(self, sample: int) -> None:
        """Close without a word and hear again from ``sample``."""
        self._open: int | None = None  # padded begin of the open utterance
        self._first: int | None = None  # begin of speech that is not announced yet
        self._spoken = 0  # samples of it above the threshold
        self._last = 0  # end of the last speech
        self._earliest = sample  # an utterance never reaches back into the one before
        self._origin = sample

    def window(self, probability: float, begin: int, end: int) -> list[Cut]:
        """What follows from the window ``[begin, end)`` of the stream."""
        settings = self._settings
        speech = probability >= settings.threshold
        if self._open is None:
            return self._waiting(speech, probability, begin, end)
        # Between the thresholds an utterance neither goes on nor runs out.
        if speech or (probability >= settings.neg_threshold and self._last == begin):
            self._last = end
        if end - self._last >= self._min_silence and not speech:
            return [self._close(min(self._last + self._pad, end), "silence")]
        if end - self._open >= self._max:
            if self._last < end:  # in a pause: what is said next begins anew
                return [self._close(min(self._last + self._pad, end), "max_speech")]
            cut = max(self._on_grid(end), self._open + self._grid)
            closed = self._close(cut, "max_speech")
            self._open, self._last = cut, end
            return [closed, Cut(True, cut, "continued")]
        return []

    def _waiting(self, speech: bool, probability: float, begin: int, end: int) -> list[Cut]:
        if speech:
            if self._first is None:
                self._first, self._spoken = begin, 0
            self._spoken += end - begin
            self._last = end
            if self._spoken >= self._min_speech:
                # A stutter may stretch long; more than the look-back is not kept anywhere.
                furthest = max(self._earliest, end - self.look_back)
                start = self._on_grid(self._first - self._pad)
                if start < furthest:
                    start = min(self._on_grid(furthest + self._grid - 1), end)
                self._open, self._first = start, None
                return [Cut(True, start, "speech")]
        elif self._first is not None and (
            probability < self._settings.neg_threshold
            and end - self._last > min(self._min_silence, self._min_speech)
        ):
            self._first = None  # a click or a cough
        return []

    def _on_grid(self, sample: int) -> int:
        """The last place of the grid up to ``sample``."""
        return sample - (sample - self._origin) % self._grid

    def _close(self, sample: int, reason: str) -> Cut:
        self._open, self._first, self._spoken = None, None, 0
        self._earliest = sample
        return Cut(False, sample, reason)
