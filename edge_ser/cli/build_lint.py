"""``edge-ser build --lint VERSION``: what a TensorRT would stumble over, without having it."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from edge_ser.cli.options import print_json
from edge_ser.errors import BackendError, UsageError

__all__ = ["lint_pack"]


def lint_pack(options: argparse.Namespace) -> int:
    """Name the nodes of every form that TensorRT ``options.lint`` would refuse or run in float.

    Raises:
        UsageError: that is no version.
        BackendError: there is such a form that it would refuse.
    """
    from edge_ser.converters.engine.variants import Variant, stored_model
    from edge_ser.converters.half import plain_weights, to_half
    from edge_ser.converters.trt_lint import lint
    from edge_ser.engines.product import version_tuple
    from edge_ser.pack import open_pack

    version, backend = options.lint, options.backend
    number = version_tuple(version)
    if not number:
        raise UsageError(f"--lint {version!r} is no version; write it like 8.5.2 or 10.3")
    pack = open_pack(options.pack)
    # From TensorRT 10 on, the types of the graph decide, and FP16 forms are FP16 graphs.
    strong = backend == "tensorrt-rtx" or number >= (10,)
    found = []
    for precision in ("int8", "fp32"):
        target, model = stored_model(pack, backend, Variant(precision, "fp32"))
        forms = {precision: plain_weights(model)}
        if strong:
            forms["mixed" if precision == "int8" else "fp16"] = to_half(model)
        for form, network in forms.items():
            found += [(target, form, finding) for finding in lint(network, backend, version)]
    rows = [{"target": target, "form": form, **asdict(item)} for target, form, item in found]
    if options.json:
        name = pack.manifest.name
        print_json({"pack": name, "backend": backend, "version": version, "findings": rows})
    else:
        for target, form, finding in found:
            print(f"{target} as {form}: {finding.severity}: {finding}")
        print(f"{pack.manifest.name}: {len(found)} findings for {backend} {version}")
    wrong = [row for row in rows if row["severity"] == "error"]
    if wrong:
        raise BackendError(
            f"{backend} {version} would refuse {wrong[0]['node']!r} ({wrong[0]['operator']}) of "
            f"{wrong[0]['target']}: {wrong[0]['message']}"
        )
    return 0
