"""``edge-ser parity``: the same audio through two backends."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_ser.cli.options import add_json, print_json
from edge_ser.errors import GateMissed, UsageError

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``parity``."""
    parser.add_argument("pack", nargs="?", help="folder, .tar or id (default: the bundled pack)")
    parser.add_argument(
        "--backends",
        required=True,
        metavar="A,B",
        help="reference and candidate, like onnxruntime:fp32,tensorrt:int8",
    )
    parser.add_argument(
        "--input", type=Path, action="append", default=[], metavar="FILE", help="audio (repeatable)"
    )
    parser.add_argument(
        "--data", action="append", default=[], metavar="CORPUS=DIR", help="labelled clips"
    )
    parser.add_argument("--limit", type=int, default=200, metavar="N", help="clips of --data (200)")
    parser.add_argument("--min-agreement", type=float, default=0.95, metavar="X")
    parser.add_argument("--max-score-error", type=float, default=0.10, metavar="X")
    parser.add_argument("--max-uar-change", type=float, default=0.02, metavar="X")
    add_json(parser)


def execute(options: argparse.Namespace) -> int:
    """Do what ``options`` ask."""
    from edge_ser.pack import open_pack
    from edge_ser.runtime.backends import load_engine
    from edge_ser.runtime.parity import clips_of, compare_engines

    names = options.backends.split(",")
    if len(names) != 2:
        raise UsageError(f"--backends takes two, like onnxruntime,tensorrt; got {options.backends}")
    pack = open_pack(options.pack)
    engines = []
    for name in names:
        backend, _, precision = name.partition(":")
        engines.append(load_engine(pack, backend, precision=precision or "auto"))
    clips = clips_of(pack, options.input, options.data, options.limit)
    one, other = engines
    result = compare_engines(pack.manifest, one, other, clips)
    first, second = (f"{engine.backend} {engine.precision}" for engine in engines)
    document = {"pack": pack.manifest.name, "backends": [first, second], **result.to_dict()}
    if options.json:
        print_json(document)
    else:
        print(f"{pack.manifest.name}: {first} and {second}, {result.clips} clips")
        print(f"  same label        {result.agreement:.2%} of {result.steps} steps")
        print(f"  same final label  {result.final_agreement:.2%} of clips")
        print(f"  score error       worst {result.worst:.4f}, mean {result.mean:.5f}")
        if result.uar_change is not None:
            print(f"  UAR               {result.uar_change:+.4f}")
    missed = [
        text
        for text, bad in (
            (
                f"final labels agree in {result.final_agreement:.1%} of clips, at least "
                f"{options.min_agreement:.0%} should",
                result.final_agreement < options.min_agreement,
            ),
            (
                f"worst score error {result.worst:.3f} > {options.max_score_error}",
                result.worst > options.max_score_error,
            ),
            (
                f"UAR changes by {result.uar_change or 0.0:+.3f}, at most "
                f"{options.max_uar_change} is allowed",
                abs(result.uar_change or 0.0) > options.max_uar_change,
            ),
        )
        if bad
    ]
    if missed:
        raise GateMissed(f"{first} and {second} differ too much: {'; '.join(missed)}")
    return 0
