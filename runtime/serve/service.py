"""What the routes share: the recognizer, the local microphone, the listeners."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from edge_ser.events import Event
from edge_ser.runtime.background import Background
from edge_ser.runtime.hold import Hold
from edge_ser.runtime.hooks.deadline import DeadlineWatcher
from edge_ser.runtime.listen import Listener
from edge_ser.runtime.live import LiveStream
from edge_ser.runtime.live_source import SampleSource
from edge_ser.runtime.notify import notify, watchdog_s
from edge_ser.runtime.recognizer import Recognizer
from edge_ser.runtime.serve.bus import Bus
from edge_ser.runtime.serve.metrics import Metrics
from edge_ser.runtime.serve.vitals import Vitals, probe_of
from edge_ser.runtime.smoothing import SmoothingSettings
from edge_ser.runtime.utterances import UtteranceSettings

__all__ = ["Service", "ServiceSettings", "Sink"]

log = logging.getLogger(__name__)
Sink = Callable[[Event], None]


@dataclass(frozen=True)
class ServiceSettings:
    """Bounds and defaults of the service.

    Attributes:
        max_connections: listeners and streams at once.
        max_message_bytes: of one WebSocket frame.
        max_upload_bytes: of one file.
        max_upload_s: seconds of audio in one file; little of a codec can be days.
        max_uploads: files at once, those that are still being sent too.
        receive_timeout_s: how long an upload, or the head of a request, may stand still.
        max_queue: events that may wait for one listener.
        send_timeout_s: how long one event may take to be sent before its listener is cut off.
        every: steps from one interval event of the microphone to the next.
        stream_id: of the microphone's events.
    """

    max_connections: int = 100
    max_message_bytes: int = 1 << 20
    max_upload_bytes: int = 64 << 20
    max_upload_s: float = 3600.0
    max_uploads: int = 4
    receive_timeout_s: float = 15.0
    max_queue: int = 256
    send_timeout_s: float = 5.0
    every: int = 1
    stream_id: str = "mic0"
    utterances: UtteranceSettings = field(default_factory=UtteranceSettings)
    smoothing: SmoothingSettings = field(default_factory=SmoothingSettings)


class Service:
    """Owns everything that lives as long as the service.

    Args:
        recognizer: the loaded pack.
        settings: bounds.
        open_source: opens the local microphone; None for a service without one.
        needs_source: whether the service is ready only while that source gives samples.
        hold: shared with MQTT and ROS.
        sinks: further takers of the microphone's events (MQTT, ROS, a recording), called in
            the listener's thread; they must not wait.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        settings: ServiceSettings | None = None,
        *,
        open_source: Callable[[], SampleSource] | None = None,
        needs_source: bool = True,
        hold: Hold | None = None,
        sinks: tuple[Sink, ...] = (),
    ) -> None:
        self.recognizer = recognizer
        self.settings = settings or ServiceSettings()
        self.hold = hold or Hold()
        self.metrics = Metrics(recognizer)
        self.vitals = Vitals()
        self.bus = Bus(self.settings.max_queue)
        self.n_connections = 0
        self.last_state: dict[str, Any] | None = None
        self.live: LiveStream | None = None
        self.listener: Listener | None = None
        self._sinks = sinks
        self._needs_source = needs_source
        self._deadlines: DeadlineWatcher | None = None
        self._listening: Background | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._probe = probe_of(recognizer.engine)
        self._feeding: asyncio.Task[None] | None = None
        self.ending = False
        if open_source is not None:
            self._deadlines = deadlines = DeadlineWatcher()
            self._pulse = self.vitals.add("the microphone", always=True)
            self.live = LiveStream(
                recognizer,
                self.settings.stream_id,
                utterances=self.settings.utterances,
                smoothing=self.settings.smoothing,
                hooks=(self.metrics.steps, deadlines),
                every=self.settings.every,
            )
            self.listener = Listener(
                self.live,
                open_source,
                self.emit,
                rate_hz=recognizer.rate_hz,
                hold=self.hold,
                deadlines=deadlines,
                beat=self._pulse.beat,
            )

    def start(self) -> None:
        """Begin to listen; called in the event loop.

        A model that cannot make a step ends the start here, before anybody is told to be ready.
        """
        self._probe()
        self._loop = asyncio.get_running_loop()
        period_s = watchdog_s()
        if period_s is not None:
            self._feeding = asyncio.create_task(self._feed(period_s))
        if (listener := self.listener) is not None:
            self._pulse.beat()
            self._listening = Background(lambda _: listener.run(), "listening", patience_s=5.0)
            self._listening.start()

    async def stop(self) -> None:
        """Stop listening and let every listener end."""
        if self._feeding is not None:
            self._feeding.cancel()
        if self.listener is not None and self._listening is not None:
            self.listener.stop()
            await asyncio.to_thread(self._listening.stop)
        self.bus.close()
        self.metrics.close()

    @property
    def busy(self) -> str | None:
        """Why one more client is not taken, None when it is."""
        limit = self.settings.max_connections
        if self.n_connections < limit:
            return None
        return f"busy: {limit} clients are connected (--max-active-connections)"

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Count a client while it is there."""
        self.n_connections += 1
        try:
            yield
        finally:
            self.n_connections -= 1

    async def dismiss(self) -> None:
        """Tell every listener that there will be no more; give them a second to leave."""
        self.ending = True
        self.bus.close()
        for _ in range(100):
            if not self.bus.clients:
                return
            await asyncio.sleep(0.01)

    def emit(self, event: Event) -> None:
        """Publish an event of the local source; from any thread."""
        self.metrics.count(event)
        for sink in self._sinks:
            try:
                sink(event)
            except Exception:  # a broken sink must not end listening
                log.exception("a sink failed on event %d", event.seq)
        if event.type == "state.change":
            self.last_state = event.to_dict()
        text = event.to_json()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.bus.publish, text)

    def state(self) -> dict[str, Any]:
        """What a page that opens now needs to know."""
        engine, live = self.recognizer.engine, self.live
        return {
            "pack": self.recognizer.manifest.name,
            "labels": list(self.recognizer.labels),
            "backend": engine.backend,
            "precision": engine.precision,
            "step_ms": self.recognizer.manifest.frontend.step_ms,
            "source": None if self.listener is None else self.listener.source,
            "listens": self.listener is not None,
            "speaking": live is not None and live.speaking,
            "hold": self.hold.state,
            "deadline_misses": 0 if self._deadlines is None else self._deadlines.misses,
            "state": self.last_state,
        }

    @property
    def ready(self) -> tuple[bool, str]:
        """Whether the service does what it is there for, and why not."""
        if self.listener is not None:
            if self._listening is None or not self._listening.alive:
                return False, "not listening"
            if self.listener.source is None:
                if self._needs_source:
                    return False, "the microphone is not there"
                return True, "ready for streams; the microphone is not there"
        return True, "ready"

    @property
    def status(self) -> str:
        """One line for ``systemctl status``."""
        name = self.recognizer.manifest.name
        if self.listener is None:
            return f"{name}, for streams of clients"
        source = self.listener.source
        return f"{name}, " + ("waiting for the microphone" if source is None else f"hears {source}")

    async def _feed(self, period_s: float) -> None:
        """Tell systemd's watchdog that all is well, for as long as it is.

        Before every sign of life the model makes a real step, and every stream that is at work
        must have made one lately. A hang of the model, of a stream, of the microphone's thread
        or of the event loop leaves the watchdog unfed, and systemd starts the service again.
        """
        said = None
        while True:
            await asyncio.to_thread(self._probe)
            reason = self.vitals.stuck(period_s / 2)
            if reason is None:
                notify("WATCHDOG=1", f"STATUS={self.status}")
            elif reason.split(" made ")[0] != said:
                said = reason.split(" made ")[0]
                log.error("%s; the watchdog is not fed any more", reason)
                notify(f"STATUS={reason}")
            await asyncio.sleep(period_s / 4)
