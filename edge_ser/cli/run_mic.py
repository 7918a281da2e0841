"""``edge-ser run mic``: a microphone until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edge_ser.cli.live_options import smoothing_settings, utterance_settings
from edge_ser.cli.options import open_recognizer

if TYPE_CHECKING:
    from edge_ser.events import Event

__all__ = ["run_mic"]


def run_mic(
    options: argparse.Namespace,
    show: Callable[[Event], None],
    show_header: Callable[[Any, str], None],
) -> int:
    """Listen and show every event; a microphone that vanishes is waited for.

    Raises:
        InputError: the microphone is not there at the start.
    """
    from edge_ser.runtime.listen import Listener, Misses
    from edge_ser.runtime.live import LiveStream
    from edge_ser.runtime.mic import Microphone
    from edge_ser.runtime.record import Recording
    from edge_ser.runtime.trace import TraceHook

    name = options.input.partition(":")[2] or None
    recognizer = open_recognizer(options)
    misses = Misses()
    trace = TraceHook() if options.trace else None
    every = options.every if options.every is not None else (1 if options.jsonl else 5)
    live = LiveStream(
        recognizer,
        "mic0",
        utterances=utterance_settings(options),
        smoothing=smoothing_settings(options),
        hooks=[misses, *([trace] if trace else [])],
        every=every,
    )
    listener = Listener(
        live,
        lambda: Microphone(name, recognizer.rate_hz),
        show,
        rate_hz=recognizer.rate_hz,
        misses=misses,
        waits=False,
    )
    # Stopped by systemd or by Ctrl-C, the last events are told and the files completed.
    signal.signal(signal.SIGTERM, lambda *_: listener.stop())
    with contextlib.ExitStack() as closing:
        if options.record is not None:
            closing.enter_context(Recording(options.record, live))
        if trace is not None:
            closing.callback(trace.write, options.trace)
        if not options.jsonl:
            show_header(recognizer, options.input)
        with contextlib.suppress(KeyboardInterrupt):
            listener.run()
    return 0
