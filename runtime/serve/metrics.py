"""What the service counts, for Prometheus."""

from __future__ import annotations

from time import perf_counter_ns

from edge_ser.errors import MissingExtra
from edge_ser.events import Event
from edge_ser.runtime.board import Board
from edge_ser.runtime.hooks.prometheus import PrometheusHook
from edge_ser.runtime.recognizer import Recognizer

__all__ = ["Metrics"]


class Metrics:
    """What ``PrometheusHook`` counts, the board, and beside it what only a service has.

    Args:
        recognizer: whose streams are counted.
        board: looked at when somebody asks for the metrics; None for the one this runs on.

    Attributes:
        steps: hook for every stream of the service.

    Raises:
        MissingExtra: prometheus-client is not installed.
    """

    def __init__(self, recognizer: Recognizer, board: Board | None = None) -> None:
        try:
            from prometheus_client import Counter, Gauge
        except ImportError:
            raise MissingExtra("prometheus-client", "serve", "serve /metrics") from None
        self.steps = PrometheusHook(recognizer)
        self._board = board or Board()
        registry = self.steps.registry
        self._utterances = Counter("ser_utterances_total", "Utterances heard.", registry=registry)
        self._losses = Counter(
            "ser_source_losses_total", "Times the source vanished.", registry=registry
        )
        self.clients = Gauge("ser_clients", "Connected listeners and streams.", registry=registry)
        self.dropped = Counter(
            "ser_clients_dropped_total", "Listeners cut off as too slow.", registry=registry
        )
        self.held = Gauge("ser_hold", "Whether listening is on hold.", registry=registry)

    def count(self, event: Event) -> None:
        """An event of any stream; from any thread."""
        self.steps.on_event(event)
        if event.type == "utterance.end":
            self._utterances.inc()
        elif event.type == "source.lost":
            self._losses.inc()

    def text(self) -> bytes:
        """The page at ``/metrics``; reads the board's sensors, so not for the event loop."""
        self.steps.on_board(perf_counter_ns(), self._board.read())
        return self.steps.exposition()

    def close(self) -> None:
        """Let the board go."""
        self._board.close()
