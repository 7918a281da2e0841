"""``edge-ser bench``: what a step costs on this machine, and which of two costs less."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_ser.cli.bounds import MOST_THREADS, real, whole
from edge_ser.cli.options import add_json, add_model, add_seed, print_json
from edge_ser.cli.outputs import check_outputs
from edge_ser.errors import EdgeSerError, UsageError

if TYPE_CHECKING:
    from edge_ser.runtime.bench.run import BenchRun

__all__ = ["add_arguments", "execute"]

_LONGEST_S = 24 * 3600.0
_SECONDS, _COMPARE_SECONDS = 120.0, 240.0
_SHARED = ("seconds", "input", "warmup", "seed", "json")
_OF_A_SIDE = ("backend", "precision", "threads")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``bench`` and ``bench compare``."""
    add_model(parser)
    _add_run(parser, _SECONDS)
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
    summary = "two packs, backends, precisions, thread counts or hooks, interleaved in one run"
    _add_compare(actions.add_parser("compare", help=summary))
    parser.set_defaults(unheeded=_unheeded(parser))


def _unheeded(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Flags of ``bench`` that ``compare`` does not heed, each with its default."""
    # argparse has no public way to list flags.
    flags = (action.dest for action in parser._actions if action.option_strings)
    return {
        name: parser.get_default(name) for name in flags if name not in (*_SHARED, "help", "debug")
    }


def _add_run(parser: argparse.ArgumentParser, seconds: float, default: str | None = None) -> None:
    """Flags that ``bench`` and ``bench compare`` share.

    Args:
        seconds: of audio, unless said.
        default: ``argparse.SUPPRESS`` for a parser that may not undo what stood before its name.
    """
    parser.add_argument(
        "--seconds",
        type=real(0.0, _LONGEST_S, above=True),
        default=default,
        metavar="N",
        help=f"seconds of audio to count (default: {seconds:g})",
    )
    parser.add_argument(
        "--input",
        type=Path,
        default=default,
        metavar="FILE",
        help="audio to stream (default: the bundled sample)",
    )
    parser.add_argument(
        "--warmup",
        type=whole(0, 1_000_000),
        default=default or 50,
        metavar="STEPS",
        help="steps streamed before counting begins (default: 50)",
    )
    add_seed(parser, default or 0)
    add_json(parser, default or False)


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
            help="step hooks, all of them or none; the board is not looked at (default: none)",
        )
    parser.add_argument(
        "--block",
        type=whole(1, 1_000_000),
        default=25,
        metavar="STEPS",
        help="steps of one side before it is the other's turn (default: 25)",
    )
    _add_run(parser, _COMPARE_SECONDS, argparse.SUPPRESS)


def execute(options: argparse.Namespace) -> int:
    """Do what ``options`` ask."""
    return _compare(options) if options.action == "compare" else _bench(options)


def _bench(options: argparse.Namespace) -> int:
    from edge_ser.errors import GateMissed
    from edge_ser.runtime.bench.run import SCENARIOS, BenchSettings, bench, too_slow
    from edge_ser.runtime.bench.text import describe
    from edge_ser.runtime.growing_file import completing

    check_outputs({"report": options.report}, options.input)
    asked = options.scenario or (["all"] if options.report else ["single-stream"])
    settings = BenchSettings(
        pack=options.pack,
        engine={
            "backend": options.backend,
            "precision": options.precision,
            "threads": options.threads,
            "require_backend": options.require_backend,
            "allow_fallback": options.allow_fallback,
            "engine": None if options.engine is None else str(options.engine),
        },
        audio=options.input,
        seconds=_SECONDS if options.seconds is None else options.seconds,
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
    if isinstance(run.failure, KeyboardInterrupt):
        raise run.failure
    if run.failure is not None:
        names = ", ".join(name.replace("_", " ") for name in run.document["missing"])
        why = next(iter(run.document["missing"].values()))
        raise EdgeSerError(f"the result is incomplete, without {names}: {why}") from run.failure
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
    _check_heeded(values)

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
        seconds=_COMPARE_SECONDS if options.seconds is None else options.seconds,
        warmup_steps=options.warmup,
        block_steps=options.block,
        seed=options.seed,
    )
    _show(options, document, describe_comparison)
    for name, why in document.get("missing", {}).items():
        raise EdgeSerError(f"the result is incomplete, {name} did not do all their work: {why}")
    return 0


def _check_heeded(values: dict[str, Any]) -> None:
    """Raise UsageError when a flag of ``bench`` says what ``compare`` would not do."""
    for name, default in values["unheeded"].items():
        if values[name] == default:
            continue
        flag = "--" + name.replace("_", "-")
        instead = f"it is for bench alone; leave {flag} out"
        if name in _OF_A_SIDE:
            instead = f"say it of a side: --a-{name}, --b-{name}"
        elif name == "pack":
            instead = "name the packs behind it: compare A B"
        raise UsageError(f"bench compare does not heed {flag}; {instead}")


def _show(options: argparse.Namespace, document: dict[str, Any], text: Any) -> None:
    if options.json:
        print_json(document)
    else:
        print(text(document))


def _progress(line: str) -> None:
    with suppress(OSError):  # who reads the progress may go, the measurement does not
        print(f"edge-ser: {line}", file=sys.stderr, flush=True)
