"""``edge-ser parity``: the same audio through two backends."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edge_ser.cli.gates import add_gates, gates_of
from edge_ser.cli.options import add_json, print_json
from edge_ser.errors import GateMissed, UsageError

if TYPE_CHECKING:
    from edge_ser.pack import Pack
    from edge_ser.parity import Parity
    from edge_ser.runtime.backends import Engine

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``parity``."""
    parser.add_argument("pack", nargs="?", help="folder, .tar or id (default: the bundled pack)")
    parser.add_argument(
        "--backends",
        required=True,
        metavar="A,B",
        help="reference and candidate, each with a precision or a target of the pack if you "
        "like: onnxruntime:fp32,tensorrt:int8 or onnxruntime:fp32,onnxruntime:tensorrt",
    )
    parser.add_argument(
        "--engine", type=Path, metavar="FILE", help="built TensorRT engine (default: the cache)"
    )
    parser.add_argument(
        "--input", type=Path, action="append", default=[], metavar="FILE", help="audio (repeatable)"
    )
    parser.add_argument(
        "--data", action="append", default=[], metavar="CORPUS=DIR", help="labelled clips"
    )
    parser.add_argument("--limit", type=int, default=200, metavar="N", help="clips of --data (200)")
    add_gates(parser)
    add_json(parser)


def execute(options: argparse.Namespace) -> int:
    """Do what ``options`` ask."""
    from edge_ser.pack import open_pack
    from edge_ser.parity import missed_gates
    from edge_ser.runtime.parity import clips_of, compare_engines

    names = options.backends.split(",")
    if len(names) != 2:
        raise UsageError(f"--backends takes two, like onnxruntime,tensorrt; got {options.backends}")
    if options.limit < 1:
        raise UsageError(f"--limit must be 1 or more, got {options.limit}")
    pack = open_pack(options.pack)
    one, other = (_engine(pack, name, options.engine) for name in names)
    clips = clips_of(pack, options.input, options.data, options.limit)
    result = compare_engines(pack.manifest, one, other, clips)
    first, second = (
        f"{engine.backend} {engine.precision} ({name})"
        for engine, name in zip((one, other), names, strict=True)
    )
    worst_clip = clips[result.worst_clip].name
    if options.json:
        print_json(
            {
                "pack": pack.manifest.name,
                "backends": [first, second],
                **result.to_dict(),
                "worst_clip": worst_clip,
            }
        )
    else:
        _show(f"{pack.manifest.name}: {first} against {second}", result, worst_clip)
    missed = missed_gates(second, result, gates_of(options))
    if missed:
        raise GateMissed("; ".join(missed))
    return 0


def _engine(pack: Pack, name: str, file: Path | None) -> Engine:
    """The engine that ``BACKEND``, ``BACKEND:PRECISION`` or ``onnxruntime:TARGET`` names."""
    from edge_ser.runtime.backends import load_engine

    backend, _, precision = name.partition(":")
    if backend == "onnxruntime" and precision in pack.manifest.targets:
        # What a pack stores for TensorRT is plain ONNX, and a CPU can tell what it gives.
        from edge_ser.runtime.backends.ort import OrtEngine

        return OrtEngine(pack, pack.manifest.targets[precision], threads=1)
    engine = file if backend.startswith("tensorrt") else None
    return load_engine(pack, backend, precision=precision or "auto", engine=engine)


def _show(title: str, result: Parity, worst_clip: str) -> None:
    print(f"{title}, {result.clips} clips, {result.steps} steps")
    print(f"  same final label  {result.agreement:.2%} of clips")
    print(f"  same label        {result.step_agreement:.2%} of steps")
    print(
        f"  score error       mean {result.mean_score_error:.5f} (final verdicts), worst "
        f"{result.worst_score_error:.4f} (any step; {worst_clip})"
    )
    if result.uar_change is not None:
        print(f"  UAR               {result.uar_change:+.4f}")
