"""``edge-ser convert``: checkpoint to INT8 pack."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_ser.cli.bounds import whole
from edge_ser.cli.gates import add_gates, gates_of
from edge_ser.cli.options import add_json, add_seed, corpus_folders, print_json
from edge_ser.errors import InputError, MissingExtra, UsageError

if TYPE_CHECKING:
    from edge_ser.corpora import Clip, Corpus

__all__ = ["add_arguments", "execute"]

TARGETS = ("cpu", "tensorrt", "tensorrt-float", "float")

_TOLD_OF_A_CORPUS = ("n", "speakers", "uar", "accuracy", "macro_f1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``convert``."""
    parser.add_argument("checkpoint", type=Path, help="checkpoint.safetensors of a training run")
    parser.add_argument("--out", type=Path, required=True, metavar="PACK", help="folder or .tar")
    parser.add_argument(
        "--calibration-data",
        action="append",
        required=True,
        metavar="DIR",
        help="corpora to measure ranges and parity on: a corpus folder, a folder of such, or "
        "CORPUS=DIR; may be repeated",
    )
    parser.add_argument(
        "--calibration-method",
        default="minmax",
        choices=["minmax", "entropy", "percentile"],
        help="(default: minmax)",
    )
    parser.add_argument("--calibration-clips", type=int, default=96, metavar="N")
    parser.add_argument(
        "--without-test-speakers",
        action="store_true",
        help="calibrate without the speakers that the checkpoint is tested on; the report tells "
        "the accuracy on them",
    )
    parser.add_argument(
        "--precision",
        default="auto",
        choices=["auto", "int8", "mixed", "fp32"],
        help="of the model for CPUs: auto builds all, gates them, times them and takes the "
        "fastest; mixed keeps the most sensitive layers in float (default: auto)",
    )
    parser.add_argument(
        "--context",
        type=whole(1),
        metavar="N",
        help="tokens of 40 ms that the attention reaches back, fewer than in training for a "
        "quicker step (default: as trained, 64)",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="keep measured ranges here, by the hashes of model and clips (default: none)",
    )
    add_gates(parser)
    parser.add_argument(
        "--targets",
        default="cpu,tensorrt,float",
        metavar="A,B",
        help=f"of {', '.join(TARGETS)} (default: cpu,tensorrt,float)",
    )
    parser.add_argument("--id", default="student", metavar="NAME", help="name of the pack")
    parser.add_argument("--pack-version", default="0.0.0", metavar="V")
    parser.add_argument(
        "--metrics", type=Path, metavar="FILE", help="JSON of cross-validated figures to record"
    )
    parser.add_argument(
        "--ignore-gates", action="store_true", help="write the pack even if a gate is missed"
    )
    add_seed(parser)
    add_json(parser)


def execute(options: argparse.Namespace) -> int:
    """Do what ``options`` ask."""
    for package in ("torch", "onnx", "safetensors"):
        try:
            __import__(package)
        except ImportError:
            raise MissingExtra(package, "convert", "convert checkpoints") from None
    from edge_ser.converters.convert import Request, convert
    from edge_ser.models.checkpoint import load_student
    from edge_ser.pack import check_name, check_place
    from edge_ser.training.progress import say

    targets = tuple(name.strip() for name in options.targets.split(",") if name.strip())
    unknown = [name for name in targets if name not in TARGETS]
    if unknown or not targets:
        raise UsageError(f"--targets {options.targets}: choose of {', '.join(TARGETS)}")
    if options.calibration_clips < 1:
        raise UsageError(f"--calibration-clips must be at least 1, got {options.calibration_clips}")
    try:
        check_name(options.id, options.pack_version)
    except ValueError as error:
        raise UsageError(f"--id and --pack-version: {error}") from error
    check_place(options.out)
    checkpoint = load_student(options.checkpoint)
    if options.context is not None:
        checkpoint = checkpoint.reaching(options.context)
    labels = checkpoint.student.config.labels
    clips = [
        clip
        for value in options.calibration_data
        for corpus in _corpora(value)
        for clip in corpus.with_labels(labels).clips
    ]
    judge: list[Clip] = []
    if options.without_test_speakers:
        tested = set(checkpoint.training.get("test_speakers", ()))
        judge = [clip for clip in clips if clip.speaker in tested]
        clips = [clip for clip in clips if clip.speaker not in tested]
    request = Request(
        pack_id=options.id,
        version=options.pack_version,
        clips=clips,
        targets=targets,
        method=options.calibration_method,
        n_calibration=options.calibration_clips,
        seed=options.seed,
        metrics=_metrics(options.metrics, checkpoint.student.config.context),
        precision=options.precision,
        cache=options.cache,
        judge=judge,
        gates=gates_of(options),
    )
    report = convert(checkpoint, request, options.out, ignore_gates=options.ignore_gates, say=say)
    if options.json:
        print_json({"pack": str(options.out), **report})
        return 0
    print(f"{options.out}: written")
    heard = report["float"]
    doubt = ": it has learnt little, so agreement with it says little"
    print(
        f"  float model  UAR {heard['uar']:.3f} on the clips compared, chance is "
        f"{heard['chance']:.3f}{doubt if heard['uar'] < 2 * heard['chance'] else ''}"
    )
    if report["confidence"] is None:
        print(
            "  confidence is not calibrated and no event abstains: run all folds of "
            "`edge-ser distill`, then --fold all with the same --out, and convert that checkpoint"
        )
    for name, parity in report["parity"].items():
        print(
            f"  {name:<9} label agreement {parity['agreement']:.1%}  "
            f"UAR {100 * parity['uar_change']:+.1f} points  "
            f"mean score error {parity['mean_score_error']:.4f}"
        )
    for name, figures in (report.get("accuracy") or {}).items():
        print(f"  {name:<9} UAR {figures['uar']:.3f} on {figures['n']} clips of test speakers")
    return 0


def _corpora(value: str) -> list[Corpus]:
    from edge_ser.corpora import NAMINGS, find_corpora, load_corpus

    if value.partition("=")[0] in NAMINGS:
        ((name, folder),) = corpus_folders([value], "--calibration-data").items()
        return [load_corpus(name, folder)]
    return find_corpora(Path(value).expanduser())


def _metrics(path: Path | None, context: int) -> dict[str, Any]:
    """What ``path`` holds; figures of another reach of the attention are not this pack's."""
    if path is None:
        return {}
    try:
        metrics = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"--metrics {path}: cannot be read as JSON ({error})") from error
    if not isinstance(metrics, dict):
        raise InputError(f"--metrics {path}: should be a JSON object")
    if metrics.get("context", context) != context:
        raise InputError(
            f"--metrics {path}: measured with --context {metrics['context']}, this pack has "
            f"{context}; give both the same"
        )
    if not _is_cross_validation(metrics.get("cross_validation")):
        raise InputError(
            f"--metrics {path}: holds no cross_validation as `python -m benchmarks.crossval` "
            "writes it to deployed.json of a run (results.json holds other figures)"
        )
    return metrics


def _is_cross_validation(found: Any) -> bool:
    """Whether ``found`` has all that a model card tells of it."""
    if not isinstance(found, dict) or not {"protocol", "precision", "corpora"} <= found.keys():
        return False
    figures = found["corpora"]
    return isinstance(figures, dict) and all(
        isinstance(of, dict)
        and all(isinstance(of.get(key), int | float) for key in _TOLD_OF_A_CORPUS)
        for of in figures.values()
    )
