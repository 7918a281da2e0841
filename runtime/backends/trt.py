"""TensorRT and TensorRT for RTX: an engine that was checked before it was loaded."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_ser.engines import (
    Bindings,
    EngineCache,
    cache_folder,
    check_engine,
    find_host,
    load_bindings,
    read_sidecar,
)
from edge_ser.engines.log import explain, make_logger
from edge_ser.errors import BackendError
from edge_ser.pack import Pack, Target
from edge_ser.runtime.backends.base import EngineGroup, EngineStream, OneByOne
from edge_ser.runtime.backends.cuda_device import CudaDevice
from edge_ser.runtime.backends.trt_layers import LayerTimes
from edge_ser.runtime.backends.trt_stream import TrtStream
from edge_ser.runtime.hooks.node_profile import TRACK

__all__ = ["TrtEngine"]

log = logging.getLogger(__name__)


class TrtEngine:
    """A deserialized engine; made by :meth:`load`.

    Attributes:
        backend: ``tensorrt`` or ``tensorrt-rtx``.
        precision: of its products.
        path: of the engine file.
    """

    def __init__(
        self,
        bindings: Bindings,
        device: CudaDevice,
        engine: Any,
        runtime: Any,
        logger: Any,
        pack: Pack,
        target: Target,
        precision: str,
        path: Path,
        layers: bool = False,
    ) -> None:
        self.backend, self.precision, self.path = bindings.backend, precision, path
        self._bindings, self._device, self._engine = bindings, device, engine
        self._keep = (runtime, logger)  # both must outlive the engine
        self._errors: list[str] = logger.errors
        self._target = target
        spec = pack.manifest.frontend
        self._mel_shape = (1, spec.n_mels, spec.step_frames)
        self._n_labels = len(pack.manifest.labels)
        self._layers: list[LayerTimes] | None = [] if layers else None
        self._check_contract()

    @classmethod
    def load(
        cls,
        pack: Pack,
        backend: str,
        precision: str = "auto",
        engine: Path | None = None,
        *,
        layers: bool = False,
    ) -> TrtEngine:
        """The engine of ``pack`` for this machine.

        Args:
            engine: its file; None to look in the cache.
            layers: time every layer for :meth:`node_events`, which slows the engine down.

        Raises:
            BackendError: there is none, it does not fit this machine or pack, or TensorRT
                refuses it; nothing is deserialized before every check has passed.
        """
        bindings, host = load_bindings(backend), find_host()
        if not host.has_gpu:
            raise BackendError(f"{backend} cannot run here: {host.problem}")
        if engine is None:
            cache = EngineCache(cache_folder())
            engine = cache.find(pack, backend, bindings.version, host, precision)
        content = check_engine(engine, backend, bindings.version, host, pack)
        sidecar = read_sidecar(engine)
        if precision not in ("auto", sidecar.precision):
            raise BackendError(f"engine {engine} is {sidecar.precision}, {precision} was asked for")
        logger = make_logger(bindings.trt, log.error)
        device = CudaDevice()
        with device.current():
            runtime = bindings.trt.Runtime(logger)
            loaded = runtime.deserialize_cuda_engine(content)
        if loaded is None:  # TensorRT raises nothing, it logs
            raise BackendError(f"engine {engine} cannot be loaded: {explain(logger.errors)}")
        target = pack.manifest.targets[sidecar.target]
        return cls(
            bindings,
            device,
            loaded,
            runtime,
            logger,
            pack,
            target,
            sidecar.precision,
            engine,
            layers,
        )

    def stream(self) -> EngineStream:
        """Buffers, state and CUDA graphs of a new stream; no graphs where layers are timed."""
        if self._layers is not None:
            self._layers.append(times := LayerTimes(self._bindings.trt))
            return self._timed_stream(times)
        return TrtStream(self._device, self.context, self._target, self._mel_shape, self._n_labels,
                         self._bindings.is_rtx, self._errors)  # fmt: skip

    def group(self, n_streams: int) -> EngineGroup:
        """New streams that step one after the other."""
        return OneByOne(self, n_streams)

    def context(self, graph: bool = True) -> Any:
        """A new execution context; RTX captures and launches its own CUDA graph if ``graph``."""
        engine, trt = self._engine, self._bindings.trt
        if self._bindings.is_rtx and hasattr(engine, "create_runtime_config"):
            runtime_config = engine.create_runtime_config()
            if graph:
                runtime_config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            context = engine.create_execution_context(runtime_config)
        else:
            context = engine.create_execution_context()
        if context is None:
            raise BackendError(
                f"{self.backend} cannot make an execution context: {explain(self._errors)}"
            )
        return context

    def profile(self, steps: int = 100) -> list[tuple[str, float]]:
        """Median milliseconds of each layer over ``steps`` steps; see :class:`LayerTimes`."""
        times = LayerTimes(self._bindings.trt)
        stream = self._timed_stream(times)
        for _ in range(steps):
            stream.step()
        return times.medians()

    def node_events(self) -> Iterator[dict[str, Any]]:
        """What every layer took, as trace events; see :class:`LayerTimes`.

        Empty unless the engine was loaded with ``layers``.
        """
        told, self._layers = self._layers or [], None
        if told:
            args = {"name": f"{self.backend} layers, laid end to end"}
            yield {"name": "thread_name", "ph": "M", "tid": TRACK, "args": args}
        for times in told:
            yield from times.events()

    def _timed_stream(self, times: LayerTimes) -> TrtStream:
        stream = TrtStream(
            self._device, lambda: times.watch(self.context(graph=False)), self._target,
            self._mel_shape, self._n_labels, True, self._errors,
        )  # fmt: skip
        times.clear()  # the warm-up
        return stream

    def _check_contract(self) -> None:
        """The engine must have the tensors that the pack promises before one is bound."""
        trt, engine = self._bindings.trt, self._engine
        dtypes = {"float32": trt.float32, "int8": trt.int8}
        said: dict[str, tuple[Any, ...]] = {
            "mel": (trt.TensorIOMode.INPUT, trt.float32, self._mel_shape),
            "logits": (trt.TensorIOMode.OUTPUT, trt.float32, (1, self._n_labels)),
        }
        for state in self._target.states:
            dtype = dtypes.get(state.dtype)
            said[state.input] = (trt.TensorIOMode.INPUT, dtype, state.shape)
            said[state.output] = (trt.TensorIOMode.OUTPUT, dtype, state.shape)
        real = {}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            shape = tuple(engine.get_tensor_shape(name))
            real[name] = (engine.get_tensor_mode(name), engine.get_tensor_dtype(name), shape)
        for name in sorted(said.keys() | real.keys()):
            if said.get(name) != real.get(name):
                raise BackendError(
                    f"engine {self.path} is not what the pack says: tensor {name!r} is "
                    f"{real.get(name)}, should be {said.get(name)}; build it again"
                )
