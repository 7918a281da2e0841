"""Students side by side in the folds that all of them have.

    python -m benchmarks.student_table plain=runs/plain distilled=runs/d [--out FILE.md]

Each RUN is the folder of `edge-ser train student` or `edge-ser distill`. Verdicts are those of
the float model after the whole clip, on speakers that no fold was trained on; only folds that
every run has finished count, so that all rows speak of the same clips.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_ser.calibration.confidence import softmax
from edge_ser.errors import EdgeSerError, InputError, UsageError
from edge_ser.files import write_text
from edge_ser.metrics import score
from edge_ser.models.checkpoint import read_description

__all__ = ["main", "shared_folds", "table"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.student_table",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN")
    parser.add_argument("--out", type=Path, metavar="FILE.md")
    options = parser.parse_args(argv)
    try:
        text = table(named_runs(options.runs))
        if options.out:
            write_text(options.out, text)
    except EdgeSerError as error:
        print(f"student_table: {error}", file=sys.stderr)
        return error.exit_status
    print(text, end="")
    return 0


def named_runs(values: Sequence[str]) -> dict[str, Path]:
    """``NAME=RUN`` arguments as a mapping."""
    runs: dict[str, Path] = {}
    for value in values:
        name, equals, folder = value.partition("=")
        if not equals or name in runs:
            raise UsageError(f"{value}: write each run once, as NAME=RUN")
        runs[name] = Path(folder)
    return runs


def shared_folds(runs: Mapping[str, Path]) -> list[str]:
    """Names of the folds that every run has finished.

    Raises:
        InputError: there is none, or a fold tests other clips in one run than in another.
    """
    done = [
        {path.parent.name for path in run.glob("fold*/predictions.jsonl")} for run in runs.values()
    ]
    shared = sorted(set.intersection(*done))
    if not shared:
        raise InputError(
            "no fold was finished by all of: " + ", ".join(str(run) for run in runs.values())
        )
    for fold in shared:
        tested = {
            run: {(row["speaker"], row["file"]) for row in _rows(run / fold)}
            for run in runs.values()
        }
        first, *others = tested
        for run in others:
            if tested[run] != tested[first]:
                raise InputError(
                    f"{run / fold} tests other clips than {first / fold}: compare runs of the same "
                    "--data, --folds, --protocol and --seed"
                )
    return shared


def _rows(fold: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (fold / "predictions.jsonl").read_text().splitlines()]


def table(runs: Mapping[str, Path]) -> str:
    """Markdown; the differences are to the first run, in points of UAR."""
    folds = shared_folds(runs)
    figures = {name: _figures(run, folds) for name, run in runs.items()}
    corpora = list(next(iter(figures.values()))["uar"])
    first = next(iter(figures.values()))
    head = ["run", "epochs", *(f"UAR {corpus}, change" for corpus in corpora), "clips"]
    lines = [
        f"{', '.join(folds)}; UAR of the float student on the test speakers.",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    for name, found in figures.items():
        cells = [name, str(found["epochs"])]
        for corpus in corpora:
            uar = found["uar"][corpus]
            cells.append(f"{uar:.3f}, {100 * (uar - first['uar'][corpus]):+.1f}")
        lines.append("| " + " | ".join([*cells, str(found["n"])]) + " |")
    return "\n".join(lines) + "\n"


def _figures(run: Path, folds: Sequence[str]) -> dict[str, Any]:
    rows, labels, epochs = [], (), set()
    for fold in folds:
        training = read_description(run / fold / "checkpoint.safetensors")
        labels = tuple(training["config"]["labels"])
        epochs.add(str(training["training"]["epoch"]))
        rows += _rows(run / fold)
    uar = {}
    for corpus in sorted({row["corpus"] for row in rows}):
        part = [row for row in rows if row["corpus"] == corpus]
        logits = np.array([row["logits"] for row in part])
        truth = [labels.index(row["label"]) for row in part]
        uar[corpus] = score(truth, softmax(logits), labels).uar
    return {"uar": uar, "n": len(rows), "epochs": " ".join(sorted(epochs))}


if __name__ == "__main__":
    sys.exit(main())
