"""From a pack to an engine in the cache: choose, lint, build apart, report, gate, store."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import onnx

from edge_ser import __version__
from edge_ser.converters.engine.builder import Progress
from edge_ser.converters.engine.gate import check_parity, network_parity, reference_of
from edge_ser.converters.engine.job import build_apart
from edge_ser.converters.engine.report import check_share, report_int8
from edge_ser.converters.engine.settings import RTX_CAPABILITIES, BuildSettings
from edge_ser.converters.engine.variants import Variant, network_of, stored_model
from edge_ser.converters.trt_lint import Finding, lint
from edge_ser.engines import Bindings, EngineCache, Host, Sidecar
from edge_ser.engines.cache import store_engine
from edge_ser.engines.host import has_int8
from edge_ser.errors import BackendError, UsageError
from edge_ser.pack import Pack
from edge_ser.runtime.parity import ClipFrames

__all__ = ["Built", "Limits", "build_variant", "capabilities_for", "least_share"]

log = logging.getLogger(__name__)

_LEAST_INT8_SHARE = 0.9


@dataclass(frozen=True)
class Limits:
    """What a build may use.

    Attributes:
        least_share: share of multiplications that must run in INT8; None for the default of
            the GPU.
        force: build even if the cache has the engine.
    """

    workspace_mb: int = 256
    memory_mb: int | None = None
    optimization_level: int = 3
    timing_cache: str | None = None
    least_share: float | None = None
    force: bool = False


@dataclass(frozen=True)
class Built:
    """An engine that is ready.

    Attributes:
        seconds: that it took; 0 if it was in the cache.
        cached: whether it was.
    """

    engine: Path
    sidecar: Sidecar
    seconds: float
    cached: bool


def capabilities_for(
    backend: str, asked: tuple[str, ...], bindings: Bindings, host: Host
) -> tuple[str, ...]:
    """The GPUs to build for.

    Raises:
        UsageError: TensorRT for RTX does not build for one of ``asked``, or TensorRT is asked
            for another GPU than this machine's.
        BackendError: a GPU is needed, and there is none.
    """
    if backend == "tensorrt-rtx":
        wanted = asked or ((host.compute_capability,) if host.compute_capability else ())
        if not wanted:
            raise UsageError(
                f"this machine has no GPU to build for ({host.problem}); name one with "
                "--compute-capability, for example 8.6"
            )
        for capability in wanted:
            known = hasattr(bindings.trt.ComputeCapability, f"SM{capability.replace('.', '')}")
            if capability not in RTX_CAPABILITIES or not known:
                raise UsageError(
                    f"TensorRT-RTX {bindings.version} does not build for compute capability "
                    f"{capability}, only for {', '.join(RTX_CAPABILITIES)}; Jetson and data "
                    "centre GPUs need --backend tensorrt on the device"
                )
        return tuple(wanted)
    if host.compute_capability is None:
        raise BackendError(
            f"TensorRT builds engines on the GPU that will run them: {host.problem}; only "
            "tensorrt-rtx can build without one"
        )
    if asked and asked != (host.compute_capability,):
        raise UsageError(
            f"TensorRT builds for the GPU of this machine ({host.gpu}, "
            f"{host.compute_capability}), not for {', '.join(asked)}; run it on the target"
        )
    return (host.compute_capability,)


def build_variant(
    pack: Pack,
    variant: Variant,
    capabilities: tuple[str, ...],
    bindings: Bindings,
    host: Host,
    limits: Limits,
    *,
    out: Path | None,
    cache: EngineCache,
    progress: Progress,
    clips: Sequence[ClipFrames],
    automatic: bool = False,
) -> Built:
    """The engine of ``variant``, built unless the cache has it.

    Args:
        clips: that its network is compared with the float model on, before it is built.

    Raises:
        BackendError: the pack, the linter or TensorRT refuses.
        GateMissed: it differs too much from the float model, or too little of it would run in
            INT8; nothing is stored.
        InputError: it cannot be written.
    """
    settings = BuildSettings(
        capabilities,
        int8=variant.precision == "int8",
        half=variant.base == "fp16",
        workspace_mb=limits.workspace_mb,
        memory_mb=limits.memory_mb,
        optimization_level=limits.optimization_level,
        timing_cache=limits.timing_cache,
    )
    target, model = stored_model(pack, bindings.backend, variant)
    for finding in _lint(target, model, bindings):
        log.warning("target %s: %s", target, finding)
    network = network_of(target, model, variant, bindings, capabilities)
    _lint(target, network.model, bindings)
    parity = network_parity(pack, network, clips)
    check_parity(str(variant), parity)
    compared = {**parity.to_dict(), "reference": reference_of(pack.manifest)}
    network_sha256 = hashlib.sha256(network.content).hexdigest()
    plain = {k: v for k, v in settings.to_dict().items() if k != "timing_cache"}
    facts = {
        "version": bindings.version, "network": network_sha256, "settings": plain,
        "gpu": _gpu(bindings, host), "l4t": host.l4t,
    }  # fmt: skip
    engine = out or cache.path(pack, bindings.backend, str(variant), facts)
    least = least_share(variant, capabilities, limits.least_share)
    with cache.locked(engine):
        present = None if limits.force else cache.whole(engine, pack)
        if present is not None and _is_same(present, network_sha256, settings, bindings, host):
            check_share(present.report, least)
            fresh = {**present.report, "parity": compared}
            return Built(engine, replace(present, report=fresh), 0.0, cached=True)
        began = time.monotonic()
        plan = build_apart(bindings.backend, network.content, settings, progress)
        seconds = time.monotonic() - began
        report = report_int8(plan.layers, network.model)
        if report.layers == 0:
            raise BackendError(
                f"{bindings.backend} {bindings.version} told nothing of the engine's layers, so "
                "its INT8 share cannot be checked; --debug shows its log"
            )
        check_share(report.to_dict(), least)
        sidecar = Sidecar(
            backend=bindings.backend,
            version=bindings.version,
            compute_capabilities=capabilities,
            gpu=_gpu(bindings, host),
            driver=host.driver,
            cuda=host.cuda,
            l4t=host.l4t,
            pack=pack.manifest.name,
            target=network.target,
            onnx_sha256=pack.manifest.files[pack.manifest.targets[network.target].file].sha256,
            network_sha256=network_sha256,
            precision=variant.precision,
            base=variant.base,
            tensors=plan.tensors,
            settings={**settings.to_dict(), "strongly_typed": bindings.is_strongly_typed},
            report={
                **report.to_dict(),
                "seconds": round(seconds, 3),
                "least_share": least,
                "parity": compared,
            },
            engine_sha256=hashlib.sha256(plan.content).hexdigest(),
            engine_bytes=len(plan.content),
            automatic=automatic,
            built_at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            edge_ser=__version__,
        )
        store_engine(engine, plan.content, sidecar)
    return Built(engine, sidecar, seconds, cached=False)


def least_share(variant: Variant, capabilities: tuple[str, ...], asked: float | None) -> float:
    """The INT8 share below which a build fails; 0 on GPUs that have no INT8."""
    if asked is not None:
        return asked
    if variant.precision != "int8":
        return 0.0
    return _LEAST_INT8_SHARE if all(map(has_int8, capabilities)) else 0.0


def _lint(target: str, model: onnx.ModelProto, bindings: Bindings) -> list[Finding]:
    """What would leave INT8; raises for what could not be built at all."""
    findings = lint(model, bindings.backend, bindings.version)
    wrong = [finding for finding in findings if finding.severity == "error"]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise BackendError(f"target {target} cannot be built: {wrong[0]}{more}")
    return findings


def _gpu(bindings: Bindings, host: Host) -> str | None:
    """RTX engines belong to a compute capability, the others to the GPU they were timed on."""
    return None if bindings.is_rtx else host.gpu


def _is_same(
    sidecar: Sidecar, network: str, settings: BuildSettings, bindings: Bindings, host: Host
) -> bool:
    mine = {**settings.to_dict(), "timing_cache": None, "strongly_typed": None}
    theirs = {**sidecar.settings, "timing_cache": None, "strongly_typed": None}
    mine["compute_capabilities"] = list(settings.compute_capabilities)
    theirs["compute_capabilities"] = list(sidecar.compute_capabilities)
    return (
        sidecar.network_sha256 == network
        and sidecar.version == bindings.version
        and sidecar.backend == bindings.backend
        and sidecar.l4t == host.l4t
        and sidecar.gpu == _gpu(bindings, host)
        and mine == theirs
        and sidecar.report.keys() >= {"int8_share", "not_int8", "products", "layers"}
    )
