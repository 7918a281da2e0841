"""From a verdict every 80 ms to a state that a robot can act upon."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import Any

from edge_ser.errors import UsageError
from edge_ser.events import Event

__all__ = ["Smoother", "SmoothingSettings"]


@dataclass(frozen=True)
class SmoothingSettings:
    """How steady the state is.

    Attributes:
        enter_threshold: smoothed probability from which a label may become the state.
        exit_threshold: smoothed probability under which the state gives up its label.
        patience: verdicts in a row that must want the same change.
        min_hold_ms: time that a state stays at least.
        time_constant_ms: of the exponential smoothing of the probabilities.
        idle_ms: silence after which the state is none again.
    """

    enter_threshold: float = 0.5
    exit_threshold: float = 0.35
    patience: int = 3
    min_hold_ms: float = 1000.0
    time_constant_ms: float = 400.0
    idle_ms: float = 5000.0

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, astuple(self))):
            raise UsageError("what smoothing is told must be finite numbers")
        if not 0 < self.exit_threshold <= self.enter_threshold < 1:
            raise UsageError(
                "smoothing needs 0 < exit-threshold <= enter-threshold < 1, "
                f"got {self.exit_threshold} and {self.enter_threshold}"
            )
        if self.patience < 1 or min(self.min_hold_ms, self.time_constant_ms, self.idle_ms) < 0:
            raise UsageError("smoothing needs patience >= 1 and times that are not negative")


class Smoother:
    """Verdicts in, changes of state out.

    The state is a label or None. Verdicts of steps are provisional: their probabilities are
    smoothed over audio time, and a change needs ``patience`` of them in a row. The final
    verdict of an utterance counts at once, unless it abstains. Neither changes a state that
    is younger than ``min_hold_ms``. All times are audio times, so that a recording gives the
    same changes at any speed.
    """

    def __init__(self, settings: SmoothingSettings | None = None) -> None:
        self._settings = settings or SmoothingSettings()
        self.label: str | None = None
        self._smooth: dict[str, float] = {}
        self._utterance: str | None = None
        self._wanted: str | None = None
        self._count = 0
        self._changed_ms = -math.inf
        self._heard_ms = -math.inf

    def hear(self, event: Event) -> dict[str, Any] | None:
        """Take an emotion event.

        Returns:
            Particulars of a ``state.change``, or None when the state stays.
        """
        now = event.audio_end_ms
        if event.final:
            self._heard_ms = max(self._heard_ms, now)
            self._wanted, self._count = None, 0
            if event.abstained or event.confidence < self._settings.enter_threshold:
                return None
            return self._change(event.label, event.confidence, now, "speech_ended", final=True)
        self._follow(event, now)
        best = max(self._smooth, key=self._smooth.__getitem__)
        wanted = self._want(best)
        if wanted == self.label:
            self._wanted, self._count = wanted, 0
            return None
        self._count = self._count + 1 if wanted == self._wanted else 1
        self._wanted = wanted
        if self._count < self._settings.patience:
            return None
        confidence = self._smooth[best] if wanted else 0.0
        return self._change(wanted, confidence, now, "interval", final=False)

    def silence(self, now_ms: float) -> dict[str, Any] | None:
        """Nobody speaks at ``now_ms`` of the stream."""
        if self.label is None or now_ms - self._heard_ms < self._settings.idle_ms:
            return None
        return self._change(None, 0.0, now_ms, "silence", final=False)

    def _want(self, best: str) -> str | None:
        settings = self._settings
        if best != self.label and self._smooth[best] >= settings.enter_threshold:
            return best
        if self.label is not None and self._smooth[self.label] < settings.exit_threshold:
            return None
        return self.label

    def _follow(self, event: Event, now: float) -> None:
        if event.utterance_id != self._utterance or not self._smooth:
            # Another speaker may have begun: nothing of the last utterance's scores is kept.
            self._utterance, self._smooth = event.utterance_id, dict(event.probabilities)
        else:
            elapsed = max(0.0, now - self._heard_ms)
            tau = self._settings.time_constant_ms
            keep = math.exp(-elapsed / tau) if tau else 0.0
            for label, value in event.probabilities.items():
                self._smooth[label] = keep * self._smooth[label] + (1 - keep) * value
        self._heard_ms = now

    def _change(
        self, label: str | None, confidence: float, now: float, trigger: str, *, final: bool
    ) -> dict[str, Any] | None:
        if label == self.label or now - self._changed_ms < self._settings.min_hold_ms:
            return None
        previous, self.label = self.label, label
        self._changed_ms, self._wanted, self._count = now, None, 0
        return {
            "label": label,
            "previous": previous,
            "confidence": round(confidence, 6),
            "trigger": trigger,
            "final": final,
            "audio_end_ms": round(now, 3),
        }
