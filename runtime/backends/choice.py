"""Choose and load an engine for a pack; never another one than asked for, unless allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_ser.errors import BackendError, MissingExtra, UsageError
from edge_ser.pack import Pack, Target
from edge_ser.runtime.backends.base import Engine

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BACKENDS", "load_engine"]

BACKENDS: tuple[str, ...] = ("onnxruntime", "tensorrt", "tensorrt-rtx")
"""Names that a pack may target; ``auto`` is the first."""


def load_engine(
    pack: Pack,
    backend: str = "auto",
    *,
    precision: str = "auto",
    threads: int = 1,
    allow_fallback: bool = False,
    node_profile: Path | None = None,
    engine: Path | str | None = None,
) -> Engine:
    """Load the model of ``pack`` for ``backend``.

    Args:
        backend: one of ``BACKENDS`` or ``auto``.
        precision: ``int8``, ``fp16``, ``fp32``, or ``auto`` for the pack's first choice.
        threads: threads of one step.
        allow_fallback: take ONNX Runtime, with a warning, when ``backend`` fails.
        node_profile: file name prefix of the engine's own profile, None for none; TensorRT
            needs no file for it.
        engine: file of a built TensorRT engine; None to look in the cache.

    Raises:
        UsageError: the backend or precision is unknown.
        BackendError: the engine is missing here, the pack has no model for it, or it fails.
    """
    if backend not in ("auto", *BACKENDS):
        raise UsageError(f"unknown backend {backend!r}; known are auto, {', '.join(BACKENDS)}")
    if precision not in ("auto", "int8", "mixed", "fp16", "fp32"):
        raise UsageError(
            f"unknown precision {precision!r}; known are auto, int8, mixed, fp16, fp32"
        )
    if threads < 1:
        raise UsageError(f"at least one thread is needed, got {threads}")
    chosen = "onnxruntime" if backend == "auto" else backend
    if engine is not None and chosen == "onnxruntime":
        raise UsageError(f"engine {engine} needs --backend tensorrt or tensorrt-rtx")
    try:
        if chosen != "onnxruntime":
            from pathlib import Path

            from edge_ser.runtime.backends.trt import TrtEngine

            _target(pack, chosen, "auto")  # a pack without such a model needs no engine
            file = None if engine is None else Path(engine)
            return TrtEngine.load(pack, chosen, precision, file, layers=node_profile is not None)
        return _load(pack, precision, threads, node_profile)
    except (BackendError, MissingExtra) as error:
        if not allow_fallback or chosen == "onnxruntime":
            raise
        import logging

        logging.getLogger(__name__).warning("%s; falling back to onnxruntime", error)
        return _load(pack, "auto", threads, node_profile)


def _load(pack: Pack, precision: str, threads: int, node_profile: Path | None) -> Engine:
    from edge_ser.runtime.backends.ort import OrtEngine

    return OrtEngine(pack, _target(pack, "onnxruntime", precision), threads, node_profile)


def _target(pack: Pack, backend: str, precision: str) -> Target:
    fitting = [t for t in pack.manifest.targets.values() if backend in t.backends]
    if not fitting:
        raise BackendError(
            f"pack {pack.manifest.name} has no model for {backend}; convert it with a target "
            "that has (edge-ser convert --targets)"
        )
    if precision == "auto":
        return fitting[0]
    for target in fitting:
        if target.precision == precision:
            return target
    have = ", ".join(target.precision for target in fitting)
    raise BackendError(
        f"pack {pack.manifest.name} has no {precision} model for {backend}, only {have}"
    )
