r"""Sizes of the student side by side: accuracy against latency and size, INT8 and FP32.

    python -m benchmarks.variants large=runs/large medium=runs/d small=runs/small \
        --data emodb=DIR --data ravdess=DIR --out docs/figures/variants.svg

Each RUN holds the folds of `edge-ser train student --size …` or `edge-ser distill --size …`.
Every fold that all runs have is converted and judged on its test speakers; times are medians of
this machine, one thread, taken in turns. The numbers go beside the figure, as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.student_table import named_runs, shared_folds
from edge_ser.cli.options import corpus_folders
from edge_ser.converters.convert import Request, convert
from edge_ser.corpora import Clip, load_corpus
from edge_ser.errors import EdgeSerError
from edge_ser.files import write_text
from edge_ser.models.checkpoint import load_student
from edge_ser.pages.svg import Axis, Plot

__all__ = ["Variant", "figure", "main"]

_FORMS = {"int8": "cpu", "fp32": "float"}


@dataclass(frozen=True)
class Variant:
    """One size in one precision.

    Attributes:
        uar: mean over the folds, on all their test clips together.
        step_us: median time of a model step.
        bytes: of the model file.
    """

    name: str
    precision: str
    parameters: int
    uar: float
    step_us: float
    bytes: int


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.variants",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN")
    parser.add_argument("--data", action="append", required=True, metavar="CORPUS=DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.svg")
    options = parser.parse_args(argv)
    try:
        runs = named_runs(options.runs)
        folds = shared_folds(runs)
        clips = [
            clip
            for name, folder in corpus_folders(options.data).items()
            for clip in load_corpus(name, folder).clips
        ]
        rows = [row for name, run in runs.items() for row in _measure(name, run, folds, clips)]
        write_text(options.out, figure(rows))
        document = {"folds": folds, "variants": [vars(row) for row in rows]}
        write_text(options.out.with_suffix(".json"), json.dumps(document, indent=1) + "\n")
    except EdgeSerError as error:
        print(f"variants: {error}", file=sys.stderr)
        return error.exit_status
    print(f"{', '.join(folds)}\nsize    precision  parameters    UAR  step, µs     kB")
    for row in rows:
        print(
            f"{row.name:<7} {row.precision:<9} {row.parameters:11,d} {row.uar:6.3f} "
            f"{row.step_us:9.0f} {row.bytes / 1000:6.0f}"
        )
    return 0


def _measure(name: str, run: Path, folds: Sequence[str], clips: Sequence[Clip]) -> list[Variant]:
    reports, parameters = [], 0
    for fold in folds:
        checkpoint = load_student(run / fold / "checkpoint.safetensors")
        parameters = sum(p.numel() for p in checkpoint.student.parameters())
        tested = set(checkpoint.training["test_speakers"])
        known = [clip for clip in clips if clip.label in checkpoint.student.config.labels]
        request = Request(
            "variant",
            "0",
            [clip for clip in known if clip.speaker not in tested],
            ("cpu",),
            n_sensitivity=2,
            judge=[clip for clip in known if clip.speaker in tested],
        )
        with tempfile.TemporaryDirectory() as folder:
            report = convert(checkpoint, request, Path(folder) / "pack", ignore_gates=True)
            if report["precision"]["precision"] != "int8":
                # The pack would be of another form: its accuracy is not that of INT8.
                wanted = replace(request, precision="int8")
                int8 = convert(checkpoint, wanted, Path(folder) / "int8", ignore_gates=True)
                report["accuracy"]["cpu"] = int8["accuracy"]["cpu"]
        reports.append(report)
        print(f"{name}: {fold}", file=sys.stderr)
    found = []
    for precision, form in _FORMS.items():
        built = [
            next(c for c in report["precision"]["candidates"] if c["precision"] == precision)
            for report in reports
        ]
        found.append(
            Variant(
                name,
                precision,
                parameters,
                float(np.mean([report["accuracy"][form]["uar"] for report in reports])),
                float(np.median([row["step_us"] for row in built])),
                int(built[0]["bytes"]),
            )
        )
    return found


def figure(rows: Sequence[Variant]) -> str:
    """UAR against step time; a dot's words give size and precision. Stands alone as SVG."""
    times = [row.step_us for row in rows]
    heights = [row.uar for row in rows]
    plot = Plot(
        Axis(0.0, max(times) * 1.35, "median model step, µs"),
        Axis(min(heights) - 0.015, max(heights) + 0.015, "UAR"),
        height=400,
    )
    for row in rows:
        plot.dot(row.step_us, row.uar, "dot" if row.precision == "int8" else "dot hollow")
        plot.text(
            row.step_us, row.uar, f"{row.name} {row.precision}, {row.bytes / 1000:.0f} kB", dx=9
        )
    best = max(rows, key=lambda row: row.uar)
    svg = plot.svg(
        "variants",
        "Accuracy against latency and size",
        f"{best.name} in {best.precision} is the most accurate, UAR {best.uar:.3f}.",
    )
    style = (
        "<style>text { font: 12px sans-serif; } .dot { fill: #b1480e; } .hollow { fill: #fff; "
        "stroke: #b1480e; stroke-width: 2; } .axis { stroke: #333; } .grid { stroke: #e4e4e4; }"
        "</style>"
    )
    head, rest = svg.split(">", 1)
    return f'{head} xmlns="http://www.w3.org/2000/svg">{style}{rest}\n'


if __name__ == "__main__":
    sys.exit(main())
