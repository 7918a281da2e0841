"""``edge-ser run``: stream audio through a pack."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from edge_ser.cli.live_options import add_gate
from edge_ser.cli.options import add_model, open_recognizer
from edge_ser.cli.profiling import add_profiling, check_profiling, node_profile, profile
from edge_ser.errors import InputError, UsageError

if TYPE_CHECKING:
    from edge_ser.events import Event
    from edge_ser.runtime import Recognizer

__all__ = ["add_arguments", "execute"]

_BAR = 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``run``."""
    parser.add_argument(
        "input",
        metavar="INPUT",
        help="audio file, - (raw s16le mono 16 kHz on stdin), demo, mic, mic:NAME, "
        "tcp://HOST:PORT, tcp-listen://HOST:PORT or ros:/TOPIC",
    )
    add_model(parser)
    parser.add_argument("--jsonl", action="store_true", help="print one event a line as JSON")
    parser.add_argument(
        "--every",
        type=int,
        metavar="N",
        help="an event every N steps of 80 ms (default: 1 with --jsonl, else 5)",
    )
    parser.add_argument("--realtime", action="store_true", help="feed a file as fast as it plays")
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="live: keep features and events (no audio)"
    )
    add_profiling(parser)
    add_gate(parser)


def execute(options: argparse.Namespace) -> int:
    """Do what ``options`` ask."""
    from edge_ser.runtime.live_source import is_live

    live = is_live(options.input)
    if options.record and not live:
        raise UsageError("--record keeps what a live source gave; a file can be run again as it is")
    check_profiling(options)
    if options.every is None:
        options.every = 1 if options.jsonl else 5
    write = _show_json if options.jsonl else _show
    with node_profile(options):
        recognizer: Recognizer = open_recognizer(options)
        if not live:
            return _run_file(options, recognizer, write)
        from edge_ser.cli.run_mic import run_mic

        return run_mic(options, recognizer, write, _show_header)


def _run_file(
    options: argparse.Namespace, recognizer: Recognizer, write: Callable[[Event], None]
) -> int:
    from edge_ser.runtime.sources import open_source, paced

    source = open_source(options.input, recognizer.rate_hz)
    chunks = paced(source.chunks, recognizer.rate_hz) if options.realtime else source.chunks
    with profile(options, recognizer) as watch:
        show = watch.hearing(write)
        with watch.recognizer.stream(source.name, hooks=watch.hooks, every=options.every) as stream:
            # What is fed as fast as possible has no deadline.
            has_deadline = options.realtime or (options.input == "-" and not _is_file(sys.stdin))

            def tell_misses() -> None:
                for miss in watch.misses(stream) if has_deadline else ():
                    show(miss)

            if not options.jsonl:
                _show_header(recognizer, source.name)
            show(stream.notice("stream.started", rate_hz=recognizer.rate_hz))
            with suppress(KeyboardInterrupt):  # the end of what is heard, not of its verdict
                for chunk in chunks:
                    for event in stream.push(chunk):
                        show(event)
                    tell_misses()
            final = stream.finish()
            if final is None:
                raise InputError(f"{source.name}: no samples arrived, so there is nothing to tell")
            show(final)
            tell_misses()
            show(stream.notice("stream.ended", audio_end_ms=final.audio_end_ms))
    return 0


def _is_file(stdin: TextIO) -> bool:
    """Whether standard input is a file, and no pipe or terminal, which a microphone may fill."""
    try:
        return stat.S_ISREG(os.fstat(stdin.fileno()).st_mode)
    except OSError:  # it has been replaced by something in memory
        return True


def _show_json(event: Event) -> None:
    sys.stdout.write(event.to_json() + "\n")
    sys.stdout.flush()


def _show_header(recognizer: Recognizer, name: str) -> None:
    engine = recognizer.engine
    print(f"{name} through {recognizer.manifest.name} ({engine.precision}, {engine.backend})")
    print("  heard   emotion     confidence                      step")


def _show(event: Event) -> None:
    if event.type == "deadline.miss":
        detail = event.detail
        print(
            f"  step {detail['step']} took {detail['took_ms']:g} ms of {detail['deadline_ms']:g}, "
            f"most of it beyond the usual in {detail.get('stage', 'no known stage')}",
            flush=True,
        )
    if event.type != "emotion" or event.label is None:
        return
    bar = ("█" * round(event.confidence * _BAR)).ljust(_BAR, "·")
    label = f"({event.label})" if event.abstained else event.label
    mark = "  = whole utterance" if event.final else ""
    print(
        f"{event.audio_end_ms / 1000:6.2f} s  {label:<11} {bar} {event.confidence:4.0%} "
        f"{event.latency_ms.total:6.2f} ms{mark}",
        flush=True,
    )
