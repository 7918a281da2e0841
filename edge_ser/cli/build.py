"""``edge-ser build``: a TensorRT engine on or for a target."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge_ser.cli.options import add_json, print_json
from edge_ser.errors import MissingExtra, UsageError
from edge_ser.files import check_writable

if TYPE_CHECKING:
    from edge_ser.converters.engine.build import Built
    from edge_ser.converters.engine.variants import Variant

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``build``."""
    parser.add_argument("pack", nargs="?", help="folder, .tar or id (default: the bundled pack)")
    parser.add_argument("--backend", required=True, choices=["tensorrt", "tensorrt-rtx"])
    parser.add_argument(
        "--compute-capability",
        action="append",
        default=[],
        metavar="CC",
        help="GPU to build for, like 8.6; several for one engine (tensorrt-rtx only; "
        "default: the GPU of this machine)",
    )
    parser.add_argument(
        "--precision",
        default="auto",
        help="auto (build all, keep the fastest that agrees), int8 (in FP32), mixed (INT8 in "
        "FP16), fp16 or fp32 (default: auto)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="engine file (default: the cache)")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="engine cache of your own")
    parser.add_argument("--timing-cache", metavar="FILE", help="keep kernel timings (tensorrt)")
    parser.add_argument(
        "--workspace-mb", type=int, default=256, metavar="N", help="scratch of a layer (256)"
    )
    parser.add_argument(
        "--memory-mb", type=int, metavar="N", help="GPU memory for trying kernels (default: all)"
    )
    parser.add_argument(
        "--optimization-level", type=int, default=3, metavar="0-5", help="effort (default: 3)"
    )
    parser.add_argument(
        "--min-int8-share",
        type=float,
        metavar="X",
        help="fail (3) if less of the multiplications run in INT8 (default: 0.9)",
    )
    parser.add_argument(
        "--input", type=Path, action="append", default=[], metavar="FILE",
        help="audio to compare with FP32 on (repeatable; default: the bundled sample)",
    )  # fmt: skip
    parser.add_argument(
        "--data", action="append", default=[], metavar="CORPUS=DIR", help="labelled clips for that"
    )
    parser.add_argument("--limit", type=int, default=120, metavar="N", help="clips of --data (120)")
    parser.add_argument(
        "--lint", metavar="VERSION",
        help="build nothing: name the nodes that this TensorRT (8.5.2, 10.3) would refuse or "
        "run in float; needs neither TensorRT nor a GPU",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="build even if the cache has it")
    add_json(parser)


def execute(options: argparse.Namespace) -> int:
    """Do what ``options`` ask."""
    try:
        import onnx  # noqa: F401 - said here in one line instead of deep inside
    except ImportError as error:
        extra = "tensorrt" if options.backend == "tensorrt" else "rtx"
        raise MissingExtra("onnx", extra, "build engines") from error
    if options.lint is not None:
        from edge_ser.cli.build_lint import lint_pack

        return lint_pack(options)
    from edge_ser.converters.engine.build import Limits, build_variant, capabilities_for
    from edge_ser.converters.engine.settings import parse_capabilities
    from edge_ser.converters.engine.variants import (
        DEFAULT_REASON,
        board_variants,
        default_variant,
        variants_for,
    )
    from edge_ser.engines import EngineCache, cache_folder, find_host, load_bindings
    from edge_ser.pack import open_pack
    from edge_ser.runtime.parity import clips_of

    _check_flags(options)
    asked = parse_capabilities(options.compute_capability)
    pack = open_pack(options.pack)
    bindings, host = load_bindings(options.backend), find_host()
    capabilities = capabilities_for(options.backend, asked, bindings, host)
    variants = variants_for(options.precision, options.backend, capabilities)
    limits = Limits(
        options.workspace_mb,
        options.memory_mb,
        options.optimization_level,
        options.timing_cache,
        options.min_int8_share,
        options.force,
    )
    cache = EngineCache(options.cache or cache_folder())
    clips = clips_of(pack, options.input, options.data, options.limit)
    variants, missing = board_variants(variants, capabilities)
    note = missing or None
    if missing:
        print(f"edge-ser: {missing}", file=sys.stderr)

    # What is tried goes to the cache; only the chosen one goes to --out.
    measures = options.precision == "auto" and host.compute_capability in capabilities

    def build(variant: Variant, automatic: bool = False) -> Built:
        return build_variant(
            pack, variant, capabilities, bindings, host, limits,
            out=None if measures else options.out, cache=cache, clips=clips,
            progress=_Progress(str(variant)),
            automatic=automatic,
        )  # fmt: skip

    if options.precision != "auto":
        built = build(variants[0])
    elif measures:
        from edge_ser.converters.engine.measure import measured_best

        built = measured_best(pack, variants, build, clips, options.out)
    else:
        note = "; ".join(filter(None, [missing, DEFAULT_REASON]))
        print(f"edge-ser: {DEFAULT_REASON}", file=sys.stderr)
        built = build(default_variant(options.backend, capabilities), automatic=True)
    _show(options, built, note)
    return 0


def _check_flags(options: argparse.Namespace) -> None:
    """Find out before the work what would be wrong after it."""
    share = options.min_int8_share
    if share is not None and not 0.0 <= share <= 1.0:
        raise UsageError(f"--min-int8-share is a share from 0 to 1, got {share}")
    if options.limit < 1:
        raise UsageError(f"--limit must be 1 or more, got {options.limit}")
    if options.out is not None:
        check_writable(options.out)
    if options.timing_cache is not None:
        file = Path(options.timing_cache)
        check_writable(file)
        if file.exists() and not os.access(file, os.R_OK):
            raise UsageError(f"--timing-cache {file} cannot be read")
        if options.backend == "tensorrt-rtx":
            print(
                "edge-ser: --timing-cache does nothing for tensorrt-rtx, which times kernels on "
                "the user's GPU",
                file=sys.stderr,
            )


def _show(options: argparse.Namespace, built: Built, note: str | None) -> None:
    sidecar, report = built.sidecar, built.sidecar.report
    if options.json:
        print_json(
            {
                "engine": str(built.engine),
                "bytes": sidecar.engine_bytes,
                "seconds": round(built.seconds, 3),
                "cached": built.cached,
                "precision": sidecar.precision,
                "base": sidecar.base,
                "note": note,
                **{key: value for key, value in report.items() if key != "seconds"},
                "sidecar": sidecar.to_dict(),
            }
        )
        return
    made = "was in the cache" if built.cached else f"built in {built.seconds:.1f} s"
    print(f"{built.engine}")
    print(
        f"  {made}, {sidecar.engine_bytes / 1e6:.1f} MB, {sidecar.backend} {sidecar.version}, "
        f"for {', '.join(sidecar.compute_capabilities)}"
    )
    products = report["products"]
    print(
        f"  {sidecar.precision} in {sidecar.base}: {report['int8_share']:.1%} of the "
        f"multiplications in INT8 ({products['int8']} of {sum(products.values())} products, "
        f"{report['fused_attention']} fused attentions)"
    )
    print(
        f"  {report['layers']} layers: {report['int8_layers']} INT8, {report['fp16_layers']} "
        f"FP16, {report['fp32_layers']} FP32"
    )
    parity = report["parity"]
    kind = "FP32" if parity["reference"] == "float" else "FP32 of the rounded weights"
    print(
        f"  against {kind} on {parity['clips']} clips, through ONNX Runtime: same label in "
        f"{parity['step_agreement']:.1%} of steps, mean score error "
        f"{parity['mean_score_error']:.4f}"
    )
    for trial in report.get("trials", ()):
        told = trial["problem"] or f"{trial['p50_ms']:.3f} ms a step, p99 {trial['p99_ms']:.3f} ms"
        print(f"  tried {trial['precision']} in {trial['base']}: {told}")
    if sidecar.precision == "int8":
        for item in report["not_int8"]:
            print(f"  not INT8: {item['node']} ({item['precision']}), {item['why']}")


class _Progress:
    """One line on a terminal; elsewhere, as in a journal, a line now and then, and systemd's."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._last = ("", -1)

    def __call__(self, phase: str, done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if total and done >= total else ""
            print(f"\r\x1b[K{self._title}: {phase} {done}/{total}", end=end, file=sys.stderr)
            return
        from edge_ser.runtime.notify import notify

        tenth = 10 * done // total if total else 0
        if (phase, tenth) != self._last:
            self._last = (phase, tenth)
            said = f"building {self._title}: {phase} {done}/{total}"
            if notify(f"STATUS={said}"):  # a service is waiting for this engine
                print(f"edge-ser: {said}", file=sys.stderr, flush=True)
