r"""What each switch of the depth-weighted model is worth: the same fold, seed and recipe.

    python -m benchmarks.depth_ablation --data emodb=DIR --out runs/depths \
        [--only parallel,progressive] [--table FILE.md] -- --protocol random --folds 5 --fold 0

What stands behind `--` goes to `edge-ser train depth-weighted` as it is. Trains what is not there
yet, one after the other, and prints the table. A killed ablation goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import learnt
from benchmarks.rows import chosen_rows, parted
from edge_ser.cli.main import main as edge_ser
from edge_ser.errors import EdgeSerError, InputError
from edge_ser.files import write_text

__all__ = ["ROWS", "main"]

ROWS: dict[str, tuple[str, ...]] = {
    "parallel": (),
    "progressive": ("--fusion", "progressive"),
    "gated": ("--depth-weights", "dynamic"),
    "unweighted": ("--depth-weights", "uniform"),
    "spectral": ("--branch", "spectral"),
    "cepstral": ("--branch", "cepstral"),
    "shallow": ("--depths", "shallow"),
    "intermediate": ("--depths", "intermediate"),
    "high": ("--depths", "high"),
}
"""Rows of the table and what each changes in the first one (parallel, static weights)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    own, more = parted(argv)
    parser = argparse.ArgumentParser(
        prog="benchmarks.depth_ablation",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--data", action="append", required=True, metavar="CORPUS=DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--only", default=",".join(ROWS), metavar="A,B", help="rows to train")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="(default: cache in --out)")
    parser.add_argument("--table", type=Path, metavar="FILE.md", help="write the table there too")
    options = parser.parse_args(own)
    try:
        return _run(options, more)
    except EdgeSerError as error:
        print(f"depth_ablation: {error}", file=sys.stderr)
        return error.exit_status


def _run(options: argparse.Namespace, shared: list[str]) -> int:
    names = chosen_rows(options.only, ROWS)
    data = [word for value in options.data for word in ("--data", value)]
    cache = str(options.cache or options.out / "cache")
    reports: dict[str, dict[str, Any]] = {}
    for name in names:
        print(f"depth_ablation: {name}", file=sys.stderr)
        run = options.out / name
        words = [*data, *shared, *ROWS[name], "--cache", cache, "--out", str(run), "--resume"]
        status = edge_ser(["train", "depth-weighted", *words])
        if status:
            return status
        reports[name] = _report(run)
    told = " ".join(shared)
    text = table(reports, told)
    if options.table:
        write_text(options.table, text)
    print(text, end="")
    return 0


def _report(run: Path) -> dict[str, Any]:
    written = sorted([*run.glob("results.json"), *run.glob("fold*/results.json")])
    if len(written) != 1:
        raise InputError(
            f"{run}: holds {len(written)} results; give one --fold, or none for all folds, and "
            "another --out for another choice"
        )
    report: dict[str, Any] = json.loads(written[0].read_text())
    return report


def table(reports: Mapping[str, Mapping[str, Any]], recipe: str) -> str:
    """Markdown, the rows in the order that they were asked for."""
    first = next(iter(reports.values()))
    lines = [
        "# What each switch of the depth-weighted model is worth",
        "",
        "Made by `python -m benchmarks.depth_ablation`; do not edit by hand.",
        "",
        f"Recipe of all rows: `{recipe}`. Protocol {first['protocol']}, seed {first['seed']}, "
        f"labels {', '.join(first['labels'])}. Figures in percent.",
    ]
    for corpus in first["corpora"]:
        clips, folds = first["corpora"][corpus]["pooled"]["n"], first["corpora"][corpus]["folds"]
        lines += [
            "",
            f"{corpus}, {clips} test clips in {len(folds)} fold{'s' * (len(folds) != 1)}: one clip "
            f"is {100 / clips:.1f} points of accuracy.",
            "",
            "| row | flags | parameters | accuracy | UAR | training clips |",
            "|---|---|---|---|---|---|",
        ]
        for name, report in reports.items():
            found = report["corpora"][corpus]
            flags = f"`{' '.join(ROWS[name])}`" if ROWS[name] else "–"
            lines.append(
                f"| {name} | {flags} | {report['parameters'] / 1000:,.0f} k "
                f"| {100 * found['mean']['accuracy']:.1f} | {100 * found['mean']['uar']:.1f} "
                f"| {learnt(found['folds'])} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
