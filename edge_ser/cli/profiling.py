"""The flags of ``run`` that say where the time went, and the hooks behind them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from edge_ser.cli.outputs import check_outputs
from edge_ser.errors import UsageError

if TYPE_CHECKING:
    from edge_ser.events import Event
    from edge_ser.runtime import Recognizer, Stream
    from edge_ser.runtime.hooks.deadline import DeadlineWatcher
    from edge_ser.runtime.hooks.prometheus import PrometheusHook
    from edge_ser.runtime.timing import Hook

__all__ = ["Profile", "add_profiling", "check_profiling", "node_profile", "profile"]


def add_profiling(parser: argparse.ArgumentParser) -> None:
    """``--trace`` and its relatives."""
    group = parser.add_argument_group("where the time went")
    group.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="write a trace of every stage, and of the board beside it, for ui.perfetto.dev",
    )
    group.add_argument(
        "--trace-nodes",
        action="store_true",
        help="with --trace: the time of every node of the model as well, which slows it down",
    )
    group.add_argument(
        "--steps", type=Path, metavar="FILE.jsonl", help="write the times of every step as JSON"
    )
    group.add_argument(
        "--metrics-port", type=int, metavar="PORT", help="serve Prometheus metrics meanwhile"
    )
    group.add_argument(
        "--nvtx", action="store_true", help="put the stages into NVTX ranges for Nsight Systems"
    )


def check_profiling(options: argparse.Namespace) -> None:
    """Refuse what cannot work before anything is loaded.

    Raises:
        UsageError: a flag makes no sense alone, or two name the same file.
        InputError: a file cannot be written.
    """
    check_outputs({f: getattr(options, f) for f in ("trace", "steps", "record")}, options.input)
    if options.trace_nodes and not options.trace:
        raise UsageError("--trace-nodes adds to a trace; say where with --trace FILE")


@contextmanager
def node_profile(options: argparse.Namespace) -> Iterator[None]:
    """Let an engine that is opened inside write its own profile, if a flag asks for it.

    It is written into a folder beside the trace, which goes with the context, whatever happens.
    """
    if not options.trace_nodes:
        yield
        return
    trace = options.trace
    with TemporaryDirectory(dir=trace.parent, prefix=f".{trace.name}.") as folder:
        options.node_profile = Path(folder) / "nodes"
        yield


@dataclass
class Profile:
    """What watches a stream.

    Attributes:
        recognizer: the one to make the stream with.
        hooks: for the stream.
    """

    recognizer: Recognizer
    watcher: DeadlineWatcher
    hooks: list[Hook] = field(default_factory=list)
    metrics: PrometheusHook | None = None

    def hearing(self, show: Callable[[Event], None]) -> Callable[[Event], None]:
        """``show`` for an event of the stream, which is counted too if there are metrics."""
        metrics = self.metrics
        if metrics is None:
            return show

        def hear(event: Event) -> None:
            metrics.on_event(event)
            show(event)

        return hear

    def misses(self, stream: Stream) -> list[Event]:
        """The ``deadline.miss`` events since the last call."""
        return self.watcher.events(stream)


@contextmanager
def profile(options: argparse.Namespace, recognizer: Recognizer) -> Iterator[Profile]:
    """Hooks as the flags ask for them; files appear when the context ends.

    Older files stay as they are where an error comes before the first step.

    Raises:
        MissingExtra: a package is not installed.
        OutputError: at the end, when a file is incomplete because the disk was full.
        UsageError: the port is taken, or the engine has no times of nodes.
    """
    from edge_ser.runtime.growing_file import completing
    from edge_ser.runtime.hooks.deadline import DeadlineWatcher

    watcher = DeadlineWatcher()
    result = Profile(recognizer, watcher, [watcher])
    if options.trace_nodes and not hasattr(recognizer.engine, "node_events"):
        raise UsageError(
            f"--trace-nodes: {recognizer.engine.backend} does not tell the time of its nodes; "
            "leave the flag out"
        )
    sinks = []
    with ExitStack() as stack:
        if options.trace:
            from edge_ser.runtime.trace import TraceHook

            trace = TraceHook(options.trace)
            stack.push(completing(trace.close, trace.discard_empty))
            if options.trace_nodes:
                engine: Any = recognizer.engine
                stack.push(completing(lambda: trace.merge(engine.node_events())))
            result.hooks.append(trace)
            sinks.append(trace.on_board)
        if options.steps:
            from edge_ser.runtime.hooks.json_lines import JsonLinesHook

            lines = JsonLinesHook(options.steps)
            stack.push(completing(lines.close, lines.discard_empty))
            result.hooks.append(lines)
        if options.metrics_port is not None:
            from edge_ser.runtime.hooks.prometheus import PrometheusHook, serve_metrics

            result.metrics = PrometheusHook(recognizer)
            stack.enter_context(serve_metrics(result.metrics, options.metrics_port))
            result.hooks.append(result.metrics)
            sinks.append(result.metrics.on_board)
        if sinks:
            from edge_ser.runtime.board import Board, BoardSampler

            board = stack.enter_context(Board())
            stack.enter_context(BoardSampler(board, *sinks))
        if options.nvtx:
            from edge_ser.runtime.hooks.nvtx_ranges import with_nvtx_ranges

            result.recognizer = with_nvtx_ranges(recognizer)
        yield result
