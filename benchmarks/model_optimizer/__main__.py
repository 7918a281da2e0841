"""``python -m benchmarks.model_optimizer``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx

import benchmarks.model_optimizer as package
from benchmarks.model_optimizer.compare import Judge, measure
from benchmarks.model_optimizer.peer import Quantized, quantize_there
from benchmarks.model_optimizer.show import failures, placements, table
from benchmarks.model_optimizer.steps import (
    Material,
    calibration_feeds,
    float_step,
    our_form,
    prepare,
)
from edge_ser.cli.bounds import whole
from edge_ser.cli.options import add_seed, corpus_folders
from edge_ser.converters.half import to_half
from edge_ser.converters.step_graph import state_specs
from edge_ser.converters.stepping import logits_of
from edge_ser.corpora import load_corpus
from edge_ser.engines import load_bindings
from edge_ser.errors import EdgeSerError
from edge_ser.files import check_writable, write_text
from edge_ser.models.checkpoint import load_student
from edge_ser.pack import read_calibration

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.model_optimizer",
        description=package.__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FILE")
    parser.add_argument("--calibration-data", action="append", required=True, metavar="CORPUS=DIR")
    parser.add_argument("--optimizer", type=Path, required=True, metavar="PYTHON")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.md")
    parser.add_argument("--calibration-clips", type=whole(2), default=48, metavar="N")
    parser.add_argument("--clips", type=whole(2), default=160, metavar="N", help="that judge")
    parser.add_argument("--compute-capability", default="8.6", metavar="CC")
    add_seed(parser)
    options = parser.parse_args(argv)
    try:
        _run(options)
    except EdgeSerError as error:
        print(f"model_optimizer: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def _run(options: argparse.Namespace) -> None:
    check_writable(options.out)
    rtx = load_bindings("tensorrt-rtx").version
    checkpoint = load_student(options.checkpoint)
    config = checkpoint.student.config
    clips = [
        clip
        for name, folder in corpus_folders(options.calibration_data, "--calibration-data").items()
        for clip in load_corpus(name, folder).with_labels(config.labels).clips
    ]
    material = prepare(checkpoint, clips, options.calibration_clips, options.clips, options.seed)
    step = float_step(checkpoint)
    feeds = calibration_feeds(step, material)
    n_steps = len(feeds["mel"])
    _say(f"{n_steps} calibration steps of {len(material.ranged)} clips to Model Optimizer")
    with tempfile.TemporaryDirectory(prefix="edge-ser-optimizer-") as folder:
        theirs, versions = quantize_there(options.optimizer, Path(folder), step.onnx, feeds)
    unmade = {q.job.name: q.error for q in theirs if q.model is None}
    judge = Judge(
        logits_of(step, material.judged, config.step_frames),
        material.judged,
        material.truth,
        state_specs(step),
        config.labels,
        config.step_frames,
        read_calibration(checkpoint.training.get("calibration") or {}).temperature,
    )
    rows = []
    for name, base, model in _forms(material, theirs):
        _say(name)
        rows.append(measure(name, base, model, judge, options.compute_capability))
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    text = (
        f"{len(material.judged)} clips compared, ranges from {n_steps} steps of "
        f"{len(material.ranged)} clips; TensorRT for RTX {rtx} for {options.compute_capability}; "
        f"{told}\n\n{table(rows)}\n{placements(rows)}{failures(rows, unmade)}"
    )
    write_text(options.out, text)
    document = {
        "schema": "edge-ser.model-optimizer/1",
        "clips": len(material.judged),
        "calibration_clips": len(material.ranged),
        "calibration_steps": n_steps,
        "tensorrt_rtx": rtx,
        "compute_capability": options.compute_capability,
        "versions": versions,
        "not_made": unmade,
        "forms": [row.to_dict() for row in rows],
    }
    write_text(options.out.with_suffix(".json"), json.dumps(document, indent=1) + "\n")
    print(text, end="")


def _forms(
    material: Material, theirs: Sequence[Quantized]
) -> Iterator[tuple[str, str, onnx.ModelProto]]:
    """Name, base and model of every form, ours first."""
    ours = our_form(material, "minmax")
    yield "edge-ser, minmax, fp32", "fp32", ours
    yield "edge-ser, minmax, fp16", "fp16", to_half(ours)
    yield "edge-ser, entropy, fp32", "fp32", our_form(material, "entropy")
    for quantized in theirs:
        if quantized.model is not None:
            yield quantized.job.name, quantized.job.base, quantized.model


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
