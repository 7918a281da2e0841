r"""What each kind of rounding is worth: INT8 for CPUs in three ways.

    python -m benchmarks.rounding runs/d/fold3/checkpoint.safetensors --context 32 \
        --data emodb=DIR --data ravdess=DIR

One calibration, three roundings of the same network: every weight alone, so that they make up for
each other's errors (`converters/compensation.py`), and with votes of the evidence in two roundings
as well (`converters/finer_votes.py`). All are held against the float step over clips of the
checkpoint's test speakers, step by step with real state; errors are of probabilities.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.model_optimizer.steps import Material, prepare
from edge_ser.calibration import activation_ranges
from edge_ser.cli.bounds import whole
from edge_ser.cli.options import corpus_folders
from edge_ser.converters.covariances import input_covariances
from edge_ser.converters.cpu_step import build_cpu_step
from edge_ser.converters.finer_votes import with_room_for_finer_votes
from edge_ser.converters.forms import FloatForm, quantizable
from edge_ser.converters.measured import Measured
from edge_ser.converters.step_graph import build_step, state_specs
from edge_ser.converters.stepping import logits_of
from edge_ser.converters.weights import fold_student
from edge_ser.corpora import load_corpus
from edge_ser.errors import EdgeSerError
from edge_ser.models.checkpoint import load_student
from edge_ser.parity import Parity, compare

__all__ = ["each_way", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.rounding",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", action="append", required=True, metavar="CORPUS=DIR")
    parser.add_argument("--context", type=whole(1), metavar="N", help="as of edge-ser convert")
    parser.add_argument("--calibration-clips", type=whole(1), default=96, metavar="N")
    parser.add_argument("--clips", type=whole(1), default=160, metavar="N", help="to judge by")
    options = parser.parse_args(argv)
    try:
        checkpoint = load_student(options.checkpoint)
        if options.context is not None:
            checkpoint = checkpoint.reaching(options.context)
        clips = [
            clip
            for name, folder in corpus_folders(options.data).items()
            for clip in load_corpus(name, folder).clips
            if clip.label in checkpoint.student.config.labels
        ]
        found = each_way(
            prepare(checkpoint, clips, options.calibration_clips, options.clips, seed=0)
        )
    except EdgeSerError as error:
        print(f"rounding: {error}", file=sys.stderr)
        return error.exit_status
    print("| rounding | same label, clips / steps | mean / worst score error |\n|---|---|---|")
    for name, parity in found.items():
        print(
            f"| {name} | {parity.agreement:.1%} / {parity.step_agreement:.1%} "
            f"| {parity.mean_score_error:.4f} / {parity.worst_score_error:.2f} |"
        )
    return 0


def each_way(material: Material) -> dict[str, Parity]:
    """How far INT8 for CPUs is from float with weights rounded alone and together.

    The last has votes of the evidence in two roundings as well, as ``convert`` has them.
    """
    weights = fold_student(material.checkpoint.student)
    config = material.checkpoint.student.config
    exact = build_step(weights, FloatForm())
    size = config.step_frames
    report = activation_ranges(
        exact.onnx, state_specs(exact), quantizable(weights), material.ranged, size
    )
    together = Measured.of(report, input_covariances(exact, weights, material.ranged, size))
    ways = {
        "each weight alone": (replace(together, covariances={}), weights),
        "together": (together, weights),
        "together, votes twice": (together, with_room_for_finer_votes(weights)),
    }
    float_logits = logits_of(exact, material.judged, size)
    return {
        name: compare(
            float_logits,
            logits_of(build_cpu_step(way.for_cpu(form), way.ranges), material.judged, size),
            material.truth,
            config.labels,
            1.0,
        )
        for name, (way, form) in ways.items()
    }


if __name__ == "__main__":
    sys.exit(main())
