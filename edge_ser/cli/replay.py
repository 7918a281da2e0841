"""``edge-ser replay``: recorded features through the model again, bit for bit."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from edge_ser.cli.options import add_json, add_model, open_recognizer, print_json

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``replay``."""
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="made by run --record or serve --record"
    )
    add_model(parser)
    parser.add_argument("--jsonl", action="store_true", help="print the events, one a line")
    add_json(parser)


def execute(options: argparse.Namespace) -> int:
    """Do what ``options`` ask; 3 when a step does not give the same again."""
    from edge_ser.runtime.record import replay

    recognizer = open_recognizer(options)
    counts: dict[str, int] = {}
    for event in replay(options.file, recognizer):
        counts[event["type"]] = counts.get(event["type"], 0) + 1
        if options.jsonl:
            sys.stdout.write(json.dumps(event, separators=(",", ":")) + "\n")
    if options.json:
        print_json({"file": str(options.file), "same": True, "events": counts})
    elif not options.jsonl:
        told = ", ".join(f"{n} {name}" for name, n in counts.items())
        print(f"{options.file}: every step gives the same bits again ({told or 'no events'})")
    return 0
