"""ONNX to a serialized engine with TensorRT 8.5 to 11 or TensorRT for RTX."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_ser.converters.engine.settings import BuildSettings
from edge_ser.engines import Bindings, TensorRecord
from edge_ser.engines.log import explain, make_logger
from edge_ser.errors import BackendError
from edge_ser.files import replace_file

__all__ = ["Plan", "Progress", "build_plan"]

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Gets the phase, the steps done and the steps in all."""


@dataclass(frozen=True)
class Plan:
    """A serialized engine and what its build told.

    Attributes:
        layers: text of the ``Layers:`` message or of the engine inspector.
    """

    content: bytes
    tensors: tuple[TensorRecord, ...]
    layers: str
    warnings: tuple[str, ...]


def build_plan(
    bindings: Bindings, onnx: bytes, settings: BuildSettings, progress: Progress
) -> Plan:
    """Parse and build.

    Raises:
        BackendError: the parser or the builder refuses; with the reason and what to do.
    """
    trt = bindings.trt
    logger = make_logger(trt, log.debug)
    builder = trt.Builder(logger)
    if builder is None:
        raise BackendError(f"{bindings.backend} cannot start: {explain(logger.errors)}")
    network = builder.create_network(_network_flags(bindings))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx):
        raise BackendError(f"{_refusal(parser)}; {explain(logger.errors)}")
    config = builder.create_builder_config()
    cache = _configure(bindings, config, settings)
    _report_progress(trt, config, progress)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BackendError(
            f"{bindings.backend} {bindings.version} cannot build the engine: "
            f"{explain(logger.errors)}"
        )
    if cache is not None:
        _save_timing_cache(config, Path(str(settings.timing_cache)))
    content = bytes(plan)
    layers = logger.layers or _inspect(trt, logger, content)
    return Plan(content, _tensors(trt, network), layers, tuple(logger.warnings))


def _network_flags(bindings: Bindings) -> int:
    names = bindings.trt.NetworkDefinitionCreationFlag
    flags = 0
    for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED"):  # the first is gone in 11, needed in 8
        if hasattr(names, name):
            flags |= 1 << int(getattr(names, name))
    return flags


def _configure(bindings: Bindings, config: Any, settings: BuildSettings) -> Any:
    """Set everything; returns the timing cache if there is one."""
    trt = bindings.trt
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mb << 20)
    if settings.memory_mb is not None and hasattr(trt.MemoryPoolType, "TACTIC_DRAM"):
        config.set_memory_pool_limit(trt.MemoryPoolType.TACTIC_DRAM, settings.memory_mb << 20)
    if hasattr(config, "builder_optimization_level"):  # since 8.6
        config.builder_optimization_level = settings.optimization_level
    if not bindings.is_strongly_typed:
        wanted = [name for name, on in (("INT8", settings.int8), ("FP16", settings.half)) if on]
        for name in wanted:
            config.set_flag(getattr(trt.BuilderFlag, name))
    if bindings.is_rtx:
        config.num_compute_capabilities = len(settings.compute_capabilities)
        for index, capability in enumerate(settings.compute_capabilities):
            name = f"SM{capability.replace('.', '')}"
            config.set_compute_capability(getattr(trt.ComputeCapability, name), index)
        return None  # RTX times kernels on the user's GPU; its timing cache does nothing
    if settings.timing_cache is None:
        return None
    path = Path(settings.timing_cache)
    cache = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
    if cache is None or not config.set_timing_cache(cache, False):
        raise BackendError(
            f"timing cache {path} is of another TensorRT or GPU; delete it or name another file"
        )
    return cache


def _save_timing_cache(config: Any, path: Path) -> None:
    with replace_file(path) as file:
        file.write(bytes(config.get_timing_cache().serialize()))


def _report_progress(trt: Any, config: Any, progress: Progress) -> None:
    if not (hasattr(trt, "IProgressMonitor") and hasattr(config, "progress_monitor")):
        return  # TensorRT 8 builds in silence

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._total: dict[str, int] = {}

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self._total[name] = steps
            progress(name, 0, steps)

        def step_complete(self, name: str, step: int) -> bool:
            progress(name, step + 1, self._total.get(name, 0))
            return True

        def phase_finish(self, name: str) -> None:
            progress(name, self._total.get(name, 0), self._total.get(name, 0))

    config.progress_monitor = Monitor()


def _refusal(parser: Any) -> str:
    """What the parser could not take; its errors must be read while it lives."""
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        if hasattr(error, "node_name") and hasattr(error, "node_operator"):  # since 10
            where = f"node {error.node_name()!r} ({error.node_operator()})"
        else:
            where = f"node {error.node()}"
        return f"the parser refuses {where}: {error.desc()}"
    return "the parser refuses the model"


def _tensors(trt: Any, network: Any) -> tuple[TensorRecord, ...]:
    found = [("input", network.get_input(i)) for i in range(network.num_inputs)]
    found += [("output", network.get_output(i)) for i in range(network.num_outputs)]
    return tuple(
        TensorRecord(tensor.name, mode, dtype_name(trt, tensor.dtype), tuple(tensor.shape))
        for mode, tensor in found
    )


def dtype_name(trt: Any, dtype: Any) -> str:
    """Numpy's name of a TensorRT data type."""
    known = {trt.float32: "float32", trt.float16: "float16", trt.int8: "int8", trt.int32: "int32"}
    return known.get(dtype, str(dtype))


def _inspect(trt: Any, logger: Any, content: bytes) -> str:
    """Layers of an engine as JSON; empty where it cannot be loaded, as without a GPU."""
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        return ""
    inspector = engine.create_engine_inspector()
    return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
