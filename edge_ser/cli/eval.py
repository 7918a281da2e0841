"""``edge-ser eval``: accuracy of a pack on a corpus."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_ser.cli.options import add_json, add_model, open_recognizer, print_json
from edge_ser.errors import InputError, UsageError

if TYPE_CHECKING:
    from edge_ser.metrics import Scores

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``eval``."""
    add_model(parser)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="corpus folder")
    parser.add_argument("--corpus", required=True, metavar="NAME", help="which corpus it is")
    parser.add_argument(
        "--speakers",
        metavar="A,B,…",
        help="only these speakers (as in file names), for example those a model was not trained on",
    )
    parser.add_argument(
        "--streaming",
        action="store_true",
        help="take the final event of the stream, step by step (always so; kept for scripts)",
    )
    parser.add_argument(
        "--predictions", type=Path, metavar="FILE", help="write every prediction as JSON lines"
    )
    parser.add_argument(
        "--skip-unreadable",
        action="store_true",
        help="count clips that cannot be read instead of stopping at the first",
    )
    add_json(parser)


def execute(options: argparse.Namespace) -> int:
    """Do what ``options`` ask."""
    from edge_ser.corpora import load_corpus
    from edge_ser.files import check_writable, write_text
    from edge_ser.runtime.evaluate import evaluate
    from edge_ser.runtime.growing_file import completing

    if options.predictions:
        check_writable(options.predictions)
    corpus = load_corpus(options.corpus, options.data)
    if options.speakers:
        wanted = {f"{options.corpus}:{name.strip()}" for name in options.speakers.split(",")}
        unknown = wanted - {clip.speaker for clip in corpus.clips}
        if unknown:
            raise UsageError(f"--speakers: no clip of {sorted(unknown)[0]} in {options.data}")
        corpus = corpus.where(lambda clip: clip.speaker in wanted)
    recognizer = open_recognizer(options)
    known = corpus.with_labels(recognizer.labels)
    if not known.clips:
        raise InputError(f"{options.data}: no clip has a label that the pack knows")
    result = evaluate(recognizer, known.clips, skip_unreadable=options.skip_unreadable)
    heard = {clip.speaker for clip in known.clips} & set(
        recognizer.manifest.training.get("train_speakers") or ()
    )
    report: dict[str, Any] = {
        **result.scores.to_dict(),
        "skipped": len(corpus.clips) - len(known.clips),
        "unreadable": result.unreadable,
        "corpus": options.corpus,
        "protocol": (
            "final events of the streaming model; "
            + ("speakers not trained on" if not heard else f"{len(heard)} speakers TRAINED ON")
        ),
        "pack": recognizer.manifest.name,
        "backend": recognizer.engine.backend,
        "precision": recognizer.engine.precision,
    }
    with ExitStack() as stack:
        if options.predictions:  # written last: a full disk must not hide the scores
            text = "".join(json.dumps(row) + "\n" for row in result.predictions)
            stack.push(completing(lambda: write_text(options.predictions, text)))
        if options.json:
            print_json(report)
        else:
            _show(report, result.scores)
    if heard:
        print(
            f"edge-ser: the pack was trained on {len(heard)} of these speakers; "
            "these figures say nothing of strangers",
            file=sys.stderr,
        )
    return 0


def _show(report: dict[str, Any], scores: Scores) -> None:
    print(f"{report['pack']} ({report['precision']}, {report['backend']}) on {report['corpus']}")
    print(f"protocol: {report['protocol']}")
    print(
        f"{scores.n} clips  accuracy {scores.accuracy:.3f}  UAR {scores.uar:.3f}  "
        f"macro F1 {scores.macro_f1:.3f}  ECE {scores.ece:.3f}  ({report['skipped']} skipped)"
    )
    width = max(map(len, scores.labels))
    print(" " * (width + 8) + " ".join(f"{label[:6]:>6}" for label in scores.labels))
    for label, row in zip(scores.labels, scores.confusion.tolist(), strict=True):
        recall = report["per_class"][label]["recall"]
        counts = " ".join(f"{count:6d}" for count in row)
        print(f"{label:>{width}} {recall:6.1%} {counts}")
