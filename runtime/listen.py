"""Keeps a source running into a live stream: lost, restored, overflow, hold."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from edge_ser.errors import EdgeSerError, InputError
from edge_ser.events import Event
from edge_ser.runtime.hold import Hold
from edge_ser.runtime.hooks.deadline import DeadlineWatcher
from edge_ser.runtime.live import LiveStream
from edge_ser.runtime.live_source import SampleSource, backoff
from edge_ser.runtime.resample import LiveResampler
from edge_ser.runtime.timing import clock

__all__ = ["Listener"]

log = logging.getLogger(__name__)


class Listener:
    """Drives a live stream from a source that may vanish, until told to stop.

    Args:
        live: takes the samples.
        open_source: opens the source anew; ``InputError`` while it is not there.
        emit: takes every event, in the thread of :meth:`run`.
        hold: not listening while it is held.
        deadlines: a hook of ``live``, whose ``deadline.miss`` events are told.
        waits: whether a source that is not there at the start is waited for.
        beat: called whenever the listener got on, also while it waits for its source.
    """

    def __init__(
        self,
        live: LiveStream,
        open_source: Callable[[], SampleSource],
        emit: Callable[[Event], None],
        *,
        rate_hz: int,
        hold: Hold | None = None,
        deadlines: DeadlineWatcher | None = None,
        waits: bool = True,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._live = live
        self._open = open_source
        self._emit = emit
        self._rate = rate_hz
        self._hold = hold or Hold()
        self._deadlines = deadlines
        self._waits = waits
        self._beat = beat
        self._stop = threading.Event()
        self.source: str | None = None
        """Name of the open source, None while there is none."""
        self.n_losses = 0

    def stop(self) -> None:
        """Let :meth:`run` return soon; from any thread."""
        self._stop.set()

    def run(self) -> None:
        """Listen until :meth:`stop`.

        Raises:
            InputError: the source is not there at the start and is not waited for.
        """
        self._emit(self._live.started())
        source: SampleSource | None = None
        try:
            try:
                source = self._open()
            except InputError as error:
                if not self._waits:
                    raise
                source = self._wait(str(error), None)
            while source is not None and not self._stop.is_set():
                self.source = source.name
                try:
                    self._pump(source)
                except (EdgeSerError, OSError) as error:
                    self.source = None
                    source.close()
                    lost_at = time.monotonic()
                    source = self._wait(str(error), lost_at)
        finally:
            self.source = None
            if source is not None:
                source.close()
            self._tell(self._live.finish())

    def _pump(self, source: SampleSource) -> None:
        while not self._stop.is_set():
            heard = source.read()
            self._beat()
            self._tell(self._live.hold(self._hold.held))
            if heard.lost:
                self._tell(self._live.gap(heard.lost, "overflow"))
            if self._live.hooks is not None:
                resample_ns = _resample_ns(source)
                waited_ns = clock() - heard.captured_ns - (resample_ns or 0)
                self._live.hooks.arrived(waited_ns, resample_ns)
            events = self._live.push(heard.samples)
            for event in events:
                event.detail["captured_ns"] = heard.captured_ns
            self._tell(events)
            if self._deadlines is not None:
                self._tell(self._deadlines.events(self._live))

    def _wait(self, reason: str, lost_at: float | None) -> SampleSource | None:
        """Say that the source is gone, and open it again; None when told to stop."""
        self.n_losses += 1
        log.warning("source lost: %s", reason)
        self._tell(self._live.interrupt("source.lost"))
        self._emit(self._live.notice("source.lost", reason=reason))
        for attempt, wait in enumerate(backoff(), 1):
            if self._stop.wait(wait):
                return None
            self._beat()
            try:
                source = self._open()
            except (EdgeSerError, OSError) as error:
                log.debug("attempt %d: %s", attempt, error)
                continue
            lost_ms = 0.0 if lost_at is None else 1000 * (time.monotonic() - lost_at)
            log.warning("source restored: %s", source.name)
            self.source = source.name  # who hears the event may ask at once
            self._emit(
                self._live.notice(
                    "source.restored",
                    source=source.name,
                    attempts=attempt,
                    lost_ms=round(lost_ms, 1),
                )
            )
            if lost_at is not None:
                self._tell(self._live.gap(round(lost_ms * self._rate / 1000), "source.lost"))
            return source
        raise AssertionError("backoff never ends")

    def _tell(self, events: Sequence[Event]) -> None:
        hooks = self._live.hooks
        begin_ns = clock() if events and hooks is not None else 0
        try:
            for event in events:
                self._emit(event)
        finally:
            if hooks is not None:
                hooks.handed_on(clock() - begin_ns if events else 0)


def _resample_ns(source: SampleSource) -> int | None:
    """Time that the last read took to resample; None where the source has the right rate."""
    resampler: LiveResampler | None = getattr(source, "resampler", None)
    if resampler is None or not resampler.active:
        return None
    resampler.timed = True  # from now on, that is; without hooks nobody looks at a clock
    return resampler.taken_ns()
