"""``edge-ser bundle``: everything a board needs, in one tar."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge_ser.bundle.targets import PYTHONS, TARGETS
from edge_ser.cli.options import add_json, print_json

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``bundle``."""
    parser.add_argument("--target", required=True, choices=[t.name for t in TARGETS])
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=".tar to write")
    parser.add_argument("--pack", metavar="P", help="to install with it (default: the pack in use)")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        choices=PYTHONS,
        help="of the board; repeatable (default: what the target's system has)",
    )
    parser.add_argument(
        "--wheel", type=Path, metavar="FILE", help="of edge-ser (default: built from the checkout)"
    )
    parser.add_argument(
        "--trust", type=Path, metavar="PEM", help="public keys that later packs must be signed by"
    )
    add_json(parser)


def execute(options: argparse.Namespace) -> int:
    """Do what ``options`` ask."""
    from edge_ser.bundle.make import make_bundle
    from edge_ser.bundle.targets import target_named
    from edge_ser.files import check_writable
    from edge_ser.pack import open_pack
    from edge_ser.store.signature import read_keys

    check_writable(options.out)
    if options.trust is not None:
        read_keys(options.trust)
    pack = open_pack(options.pack)
    made = make_bundle(
        target_named(options.target),
        pack,
        options.out,
        pythons=options.python,
        wheel=options.wheel,
        trusted=options.trust,
        progress=lambda line: print(f"edge-ser: {line}", file=sys.stderr),
    )
    if options.json:
        print_json(
            {
                "bundle": str(made.path),
                "bytes": made.bytes,
                "pack": pack.manifest.name,
                "wheels": list(made.wheels),
            }
        )
    else:
        print(f"{made.path}: {made.bytes / 1e6:.1f} MB, {len(made.wheels)} wheels, ", end="")
        print(f"{pack.manifest.name}; on the board: tar xf FILE && sudo ./*/install.sh")
    return 0
