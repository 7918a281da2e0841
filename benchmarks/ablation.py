r"""What each lesson of the distillation is worth: the same folds and seed with one left out.

    python -m benchmarks.ablation --data emodb=DIR --data ravdess=DIR --out runs/ablation \
        [--unlabelled tess=DIR] [--fold 0] [--epochs 20] [--only plain,distilled] [-- --dropout 0 …]

What stands behind `--` goes to every command as it is. Trains what is not there yet, one after the
other, and prints the table of `benchmarks.student_table`. A killed ablation goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rows import chosen_rows, parted
from benchmarks.student_table import table
from edge_ser.cli.main import main as edge_ser
from edge_ser.errors import EdgeSerError
from edge_ser.files import write_text

__all__ = ["ROWS", "main"]

_WITHOUT_TEACHER = ("--verdict", "0", "--evidence", "0", "--states", "0")

ROWS: dict[str, tuple[str, ...]] = {
    "distilled": ("distill",),
    "plain": ("train", "student"),
    "labels-only": ("distill", "--label", "1", *_WITHOUT_TEACHER),
    "with-labels": ("distill", "--label", "0.5"),
    "with-summary": ("distill", "--summary", "0.5"),
    "with-relation": ("distill", "--relation", "0.2"),
    "no-verdicts": ("distill", "--verdict", "0"),
    "no-evidence": ("distill", "--evidence", "0"),
    "no-states": ("distill", "--states", "0"),
    "one-layer": ("distill", "--layers", "2"),
    "more-voices": ("distill", "--voices", "9"),
    "with-warp": ("distill", "--warp", "0.12"),
}
"""Rows of the table and the command of each.

`labels-only` is `distilled` with labels in the teacher's place, at a rate that was chosen for
learning states; `no-verdicts`, which has no labels either, finds its last layer in closed form.
`plain` is what `train student` does by default, with a recipe of its own and speakers held back to
choose the epoch.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.ablation",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--data", action="append", required=True, metavar="CORPUS=DIR")
    parser.add_argument("--unlabelled", action="append", default=[], metavar="CORPUS=DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--only", default=",".join(ROWS), metavar="A,B", help="rows to train")
    for flag in ("fold", "epochs", "size", "seed", "cache", "workers"):
        parser.add_argument(f"--{flag}", metavar="X", help="as of edge-ser distill")
    own, more = parted(argv)
    options = parser.parse_args(own)
    try:
        return _run(options, more)
    except EdgeSerError as error:
        print(f"ablation: {error}", file=sys.stderr)
        return error.exit_status


def _run(options: argparse.Namespace, more: Sequence[str]) -> int:
    names = chosen_rows(options.only, ROWS)
    shared = [word for value in options.data for word in ("--data", value)]
    for flag in ("fold", "epochs", "size", "seed", "workers"):
        if getattr(options, flag) is not None:
            shared += [f"--{flag}", getattr(options, flag)]
    shared += more
    shared += ["--cache", options.cache or str(options.out / "cache"), "--resume"]
    sound = [word for value in options.unlabelled for word in ("--unlabelled", value)]
    runs = {name: options.out / name for name in names}
    for name, run in runs.items():
        print(f"ablation: {name}", file=sys.stderr)
        taught = sound if ROWS[name][0] == "distill" else []
        command, flags = _split(ROWS[name])
        status = edge_ser([*command, *shared, *taught, *flags, "--out", str(run)])
        if status:
            return status
    text = table(runs)
    write_text(options.out / "ablation.md", text)
    print(text, end="")
    return 0


def _split(row: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The command and the flags that make the row, which come last and so have the last word."""
    first = next((n for n, word in enumerate(row) if word.startswith("--")), len(row))
    return row[:first], row[first:]


if __name__ == "__main__":
    sys.exit(main())
