"""``edge-ser bench``: what a step costs on this machine, and which of two costs less."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_ser.cli.bounds import MOST_THREADS, real, whole
from edge_ser.cli.options import add_json, add_model, add_seed, print_json

if TYPE_CHECKING:
    from edge_ser.runtime.bench.run import BenchRun

__all__ = ["add_arguments", "execute"]

_LONGEST_S = 24 * 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``bench`` and ``bench compare``."""
    add_model(parser)
    _add_run(parser, seconds=120.0)
    parser.add_argument(
        "--scenario",
        action="append",
        choices=["single-stream", "multi-stream", "offline", "all"],
        help="what to measure, repeatable (default: single-stream; with --report all)",
    )
    parser.add_argument(
        "--paced", action="store_true", help="feed the audio as slowly as a microphone does"
    )
    parser.add_argument(
        "--processes",
        type=whole(0, 1000),
        default=5,
        metavar="N",
        help="fresh processes for cold start and memory, 0 for none (default: 5)",
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE.html", help="write a page for reading and printing"
    )
    actions = parser.add_subparsers(dest="action", metavar="[compare]")
    _add_compare(
        actions.add_parser(
            "compare",
            help="two packs, backends, precisions, thread counts or hooks, interleaved in one run",
        )
    )


def _add_run(parser: argparse.ArgumentParser, seconds: float) -> None:
    parser.add_argument(
        "--seconds",
        type=real(0.0, _LONGEST_S, above=True),
        default=seconds,
        metavar="N",
        help=f"seconds of audio to count (default: {seconds:g})",
    )
    parser.add_argument(
        "--input", type=Path, metavar="FILE", help="audio to stream (default: the bundled sample)"
    )
    parser.add_argument(
        "--warmup",
        type=whole(0, 1_000_000),
        default=50,
        metavar="STEPS",
        help="steps streamed before counting begins (default: 50)",
    )
    add_seed(parser)
    add_json(parser)


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", nargs="?", metavar="A", help="pack (default: the bundled pack)")
    parser.add_argument("b", nargs="?", metavar="B", help="other pack (default: A)")
    for side in ("a", "b"):
        group = parser.add_argument_group(f"how {side.upper()} runs")
        group.add_argument(
            f"--{side}-backend",
            default="auto",
            choices=["auto", "onnxruntime", "tensorrt", "tensorrt-rtx"],
        )
        group.add_argument(
            f"--{side}-precision", default="auto", choices=["auto", "int8", "mixed", "fp16", "fp32"]
        )
        group.add_argument(f"--{side}-threads", type=whole(1, MOST_THREADS), default=1, metavar="N")
        group.add_argument(
            f"--{side}-hooks",
            default="none",
            choices=["none", "all"],
            help="profiling hooks that watch the stream (default: none)",
        )
    parser.add_argument(
        "--block",
        type=whole(1, 1_000_000),
        default=25,
        metavar="STEPS",
        help="steps of one side before it is the other's turn (default: 25)",
    )
    _add_run(parser, seconds=240.0)


def execute(options: argparse.Namespace) -> int:
    """Do what ``options`` ask."""
    return _compare(options) if options.action == "compare" else _bench(options)


def _bench(options: argparse.Namespace) -> int:
    from edge_ser.errors import GateMissed
    from edge_ser.runtime.bench.run import SCENARIOS, BenchSettings, bench, too_slow
    from edge_ser.runtime.bench.text import describe
    from edge_ser.runtime.growing_file import completing

    if options.report:
        from edge_ser.files import check_writable

        check_writable(options.report)
    asked = options.scenario or (["all"] if options.report else ["single-stream"])
    settings = BenchSettings(
        pack=options.pack,
        engine={
            "backend": options.backend,
            "precision": options.precision,
            "threads": options.threads,
            "require_backend": options.require_backend,
            "allow_fallback": options.allow_fallback,
        },
        audio=options.input,
        seconds=options.seconds,
        warmup_steps=options.warmup,
        paced=options.paced,
        scenarios=SCENARIOS if "all" in asked else tuple(asked),
        seed=options.seed,
        processes=options.processes,
    )
    run = bench(settings, progress=_progress)
    with ExitStack() as stack:
        if options.report:  # written last: a full disk must not hide the figures
            stack.push(completing(lambda: _write_report(run, options.report)))
        _show(options, run.document, describe)
    if reason := too_slow(run.document):
        raise GateMissed(reason)
    return 0


def _write_report(run: BenchRun, path: Path) -> None:
    from edge_ser.runtime.bench.report import write_report

    write_report(run, path)
    _progress(f"report: {path}")


def _compare(options: argparse.Namespace) -> int:
    from edge_ser.runtime.bench.compare import Side, compare
    from edge_ser.runtime.bench.text import describe_comparison

    values = vars(options)

    def side(name: str, pack: str | None) -> Side:
        return Side(
            pack=pack,
            backend=values[f"{name}_backend"],
            precision=values[f"{name}_precision"],
            threads=values[f"{name}_threads"],
            hooks=values[f"{name}_hooks"] == "all",
        )

    document = compare(
        side("a", options.a),
        side("b", options.b or options.a),
        audio_file=options.input,
        seconds=options.seconds,
        warmup_steps=options.warmup,
        block_steps=options.block,
        seed=options.seed,
    )
    _show(options, document, describe_comparison)
    return 0


def _show(options: argparse.Namespace, document: dict[str, Any], text: Any) -> None:
    if options.json:
        print_json(document)
    else:
        print(text(document))


def _progress(line: str) -> None:
    with suppress(BrokenPipeError):  # who reads the progress may go, the measurement does not
        print(f"edge-ser: {line}", file=sys.stderr, flush=True)
