"""``edge-ser run`` on a live source, until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from edge_ser.cli.live_options import smoothing_settings, utterance_settings
from edge_ser.cli.profiling import profile

if TYPE_CHECKING:
    from edge_ser.events import Event
    from edge_ser.runtime import Recognizer

__all__ = ["run_mic"]


def run_mic(
    options: argparse.Namespace,
    recognizer: Recognizer,
    show: Callable[[Event], None],
    show_header: Callable[[Recognizer, str], None],
) -> int:
    """Listen and show every event; a source that vanishes is waited for.

    Raises:
        InputError: the source is not there at the start.
        OutputError: at the end, when a file is incomplete because the disk was full.
    """
    from edge_ser.runtime.listen import Listener
    from edge_ser.runtime.live import LiveStream
    from edge_ser.runtime.live_source import opener
    from edge_ser.runtime.record import Recording

    with contextlib.ExitStack() as closing:
        watch = closing.enter_context(profile(options, recognizer))
        live = LiveStream(
            watch.recognizer,
            "mic0",
            utterances=utterance_settings(options),
            smoothing=smoothing_settings(options),
            hooks=watch.hooks,
            every=options.every,
        )
        listener = Listener(
            live,
            opener(options.input, recognizer.rate_hz),
            watch.hearing(show),
            rate_hz=recognizer.rate_hz,
            deadlines=watch.watcher,
            waits=options.input.startswith("tcp-listen:"),
        )
        # Stopped by systemd or by Ctrl-C, the last events are told and the files completed.
        signal.signal(signal.SIGTERM, lambda *_: listener.stop())
        if options.record is not None:
            closing.enter_context(Recording(options.record, live))
        if not options.jsonl:
            show_header(recognizer, options.input)
        with contextlib.suppress(KeyboardInterrupt):
            listener.run()
    return 0
