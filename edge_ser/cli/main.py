"""Find the verb, run it, turn errors into one clear line and an exit status."""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

from edge_ser import __version__
from edge_ser.errors import NO_ROOM, EdgeSerError, UsageError

__all__ = ["VERBS", "build_parser", "main"]

VERBS = {
    "run": "stream audio through a pack and print emotions",
    "bench": "per-step latency of the whole path, samples in to event out",
    "eval": "accuracy of a pack on a corpus",
    "corpus": "check a corpus folder before training on it",
    "train": "train a model",
    "distill": "a teacher's knowledge into the streaming student",
    "convert": "checkpoint to INT8 pack: export, calibrate, quantize, check",
    "mic": "which microphones there are, and whether one hears well",
    "serve": "the service: WebSocket, events, kiosk page, MQTT, ROS 2",
    "replay": "recorded features through the model again, bit for bit",
    "build": "build a TensorRT engine of a pack",
    "parity": "compare two backends on the same audio",
    "pack": "what a pack is, install and switch packs, whether they are whole",
    "doctor": "what this machine has, what would be used, and what to mend",
    "bundle": "everything a board needs to install without a network, in one tar",
}
"""Every verb in the order of use; each is a module of this package with ``add_arguments``
and ``execute``, imported only when needed, so that ``-h`` works with no extra installed."""

_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 done, 2 wrong usage or input, 3 a gate was missed, 1 anything else.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    for name in ("stdout", "stderr"):  # None where it was closed before the start
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - as long as the process
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # for a terminal that has no bars to draw
    try:
        options = build_parser(arguments).parse_args(arguments)
        logging.basicConfig(
            level=logging.DEBUG if debug else logging.WARNING,
            format="%(levelname)s %(name)s: %(message)s" if debug else "edge-ser: %(message)s",
        )
        with _ended_like_ctrl_c():
            status: int = importlib.import_module(f"edge_ser.cli.{options.verb}").execute(options)
        sys.stdout.flush()
        return status
    except EdgeSerError as error:
        if debug:
            raise
        _say(str(error))
        return error.exit_status
    except KeyboardInterrupt:
        if debug:
            raise
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away, as `head` does; that is no error of ours.
        _forget_output()
        return 0
    except SystemExit as request:  # argparse has already said what was wrong
        return request.code if isinstance(request.code, int) else 2
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.filename is None and error.errno in NO_ROOM:
            _forget_output()
            _say(f"cannot write the output: {error.strerror}")
            return 1
        if isinstance(error, OSError) and error.filename is not None and error.strerror:
            _say(f"{error.filename}: {error.strerror}")
            return 1 if error.errno in NO_ROOM else 2
        _say(f"{type(error).__name__}: {error} (this is a fault of edge-ser; --debug shows where)")
        return 1


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Let systemd, ``timeout`` and a closed terminal end the work as Ctrl-C does: tidily."""

    def interrupt(signum: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in signals]
    for number, handler in zip(signals, before, strict=True):
        if handler is signal.SIG_DFL:  # nohup ignores SIGHUP, and means it
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def _say(words: str) -> None:
    """One line on stderr; where that cannot be written either, the exit status still tells."""
    with suppress(OSError):
        print(f"edge-ser: {words}", file=sys.stderr, flush=True)


def _forget_output() -> None:
    """Let what is still in the buffer of stdout go nowhere, or Python would fail at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser, with the flags of the verb that ``arguments`` name."""
    parser = _Parser(
        prog="edge-ser",
        description="Speech emotion recognition on edge devices.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"edge-ser {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    wanted = next((word for word in arguments if not word.startswith("-")), None)
    for verb, summary in VERBS.items():
        sub = verbs.add_parser(
            verb,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            allow_abbrev=False,
        )
        if verb == wanted:
            importlib.import_module(f"edge_ser.cli.{verb}").add_arguments(sub)
            _everywhere(sub)
    return parser


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; argparse would print every flag above it."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} -h)")


def _everywhere(parser: argparse.ArgumentParser) -> None:
    """``--debug`` behind every verb, also behind the verbs of a verb; no flag is guessed."""
    parser.allow_abbrev = False
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    for action in parser._actions:  # argparse has no public way to list subparsers
        if isinstance(action, argparse._SubParsersAction):
            for sub in set(action.choices.values()):
                _everywhere(sub)
