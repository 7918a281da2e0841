"""``edge-ser serve``: the service and its kiosk page."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_ser.cli.bounds import real
from edge_ser.cli.live_options import add_gate, smoothing_settings, utterance_settings
from edge_ser.cli.options import add_model, open_recognizer
from edge_ser.errors import EdgeSerError, UsageError

if TYPE_CHECKING:
    from edge_ser.runtime.live_source import SampleSource

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``serve``."""
    add_model(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8765, help="port (default: 8765)")
    parser.add_argument(
        "--input",
        metavar="INPUT",
        help="mic, mic:NAME, tcp://HOST:PORT, tcp-listen://HOST:PORT, ros:/TOPIC or none "
        "(default: the microphone where there is one)",
    )
    parser.add_argument("--token", help="asked of clients (default: made up beyond loopback)")
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="URL",
        help="origin of another page that may connect; repeatable",
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="an event every N steps")
    parser.add_argument("--max-active-connections", type=int, default=100, metavar="N")
    parser.add_argument(
        "--max-message-size", type=int, default=1 << 20, metavar="BYTES", help="of a frame"
    )
    parser.add_argument("--max-upload-mb", type=int, default=64, metavar="N", help="of a file")
    parser.add_argument(
        "--max-upload-minutes", type=real(above=True), default=60.0, metavar="N",
        help="of audio in a file (default: 60)",
    )  # fmt: skip
    parser.add_argument(
        "--max-queue-size", type=int, default=256, metavar="N", help="events waiting for a client"
    )
    parser.add_argument(
        "--hold-cool-down-ms",
        type=real(0.0, 60_000.0),
        default=300.0,
        metavar="MS",
        help="after a hold (default: 300)",
    )
    parser.add_argument(
        "--mqtt", metavar="URL", help="publish to a broker, mqtt://[user:password@]host[:port]"
    )
    parser.add_argument(
        "--device-id", default="edge-ser", metavar="ID", help="name in MQTT topics and ROS"
    )
    parser.add_argument("--ros2", action="store_true", help="publish ROS 2 topics over DDS")
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="keep features and events (no audio)"
    )
    add_gate(parser)


def execute(options: argparse.Namespace) -> int:
    """Do what ``options`` ask."""
    from edge_ser.runtime.hold import Hold
    from edge_ser.runtime.serve.guard import is_loopback
    from edge_ser.runtime.serve.run import bind, choose_token, run
    from edge_ser.runtime.serve.service import Service, ServiceSettings

    settings = ServiceSettings(
        max_connections=_positive(options.max_active_connections, "--max-active-connections"),
        max_message_bytes=_positive(options.max_message_size, "--max-message-size"),
        max_upload_bytes=_positive(options.max_upload_mb, "--max-upload-mb") << 20,
        max_upload_s=60.0 * options.max_upload_minutes,
        max_queue=_positive(options.max_queue_size, "--max-queue-size"),
        every=_positive(options.every, "--every"),
        utterances=utterance_settings(options),
        smoothing=smoothing_settings(options),
    )
    token = choose_token(options.token, options.host)
    recognizer = open_recognizer(options)
    open_source = _source(options.input, recognizer.rate_hz)
    hold = Hold(options.hold_cool_down_ms)
    loopback = is_loopback(options.host)
    logging.getLogger("edge_ser").setLevel(logging.INFO)
    with contextlib.ExitStack() as closing:
        listening = closing.enter_context(bind(options.host, options.port))
        sinks: list[Any] = []
        if options.mqtt:
            from edge_ser.runtime.mqtt import MqttBridge

            bridge = MqttBridge(options.mqtt, options.device_id, recognizer, hold=hold)
            sinks.append(closing.enter_context(bridge))
        if options.ros2:
            from edge_ser.runtime.ros2 import RosBridge

            sinks.append(closing.enter_context(RosBridge(options.device_id, hold=hold)))
        service = Service(
            recognizer,
            settings,
            open_source=open_source,
            needs_source=options.input is not None,
            hold=hold,
            sinks=tuple(sinks),
        )
        if options.record is not None:
            if service.live is None:
                raise UsageError("--record needs a live source, and there is none; see --input")
            from edge_ser.runtime.record import Recording

            closing.enter_context(Recording(options.record, service.live))
        port = listening.getsockname()[1]

        def say() -> None:
            query = f"?token={token}" if token else ""
            host = f"[{options.host}]" if ":" in options.host else options.host
            print(f"edge-ser: kiosk page at http://{host}:{port}/{query}", file=sys.stderr)

        run(
            service,
            listening,
            say,
            token=token,
            origins=tuple(options.allow_origin),
            loopback=loopback,
        )
    return 0


def _source(asked: str | None, rate_hz: int) -> Callable[[], SampleSource] | None:
    """What opens the source that was asked for; None for a service without one.

    A machine that cannot have a microphone serves streams and files all the same, unless one
    was asked for.
    """
    from edge_ser.runtime.live_source import opener

    if asked == "none":
        return None
    if asked is not None:
        return opener(asked, rate_hz)
    try:
        return opener("mic", rate_hz)
    except EdgeSerError as error:
        print(f"edge-ser: no microphone, streams and files only ({error})", file=sys.stderr)
        return None


def _positive(value: int, flag: str) -> int:
    if value < 1:
        raise UsageError(f"{flag} {value}: at least 1, please")
    return value
