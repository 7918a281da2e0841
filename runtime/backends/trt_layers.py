"""What each layer of a TensorRT engine takes, step by step."""

from __future__ import annotations

import logging
import os
from array import array
from collections.abc import Iterator
from time import perf_counter_ns
from typing import Any

import numpy as np

from edge_ser.runtime.hooks.node_profile import TRACK

__all__ = ["LayerTimes"]

log = logging.getLogger(__name__)

_MOST = 1_000_000  # layer times that are kept, 24 bytes each; ONNX Runtime keeps as many


class LayerTimes:
    """The layer times of one stream.

    TensorRT tells how long a layer took and not when: the layers of a step are laid end to
    end from its launch on. They are timed one by one without a CUDA graph: good for comparing
    layers, not for the time of a step.

    Args:
        trt: TensorRT's module.
    """

    def __init__(self, trt: Any) -> None:
        self._names: dict[str, int] = {}
        self._layers, self._starts_ns, self._ms = array("L"), array("q"), array("d")
        self._next_ns = 0
        add = self._add

        class Profiler(trt.IProfiler):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.IProfiler.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                add(layer_name, ms)

        self._profiler = Profiler()  # TensorRT keeps no reference

    def watch(self, context: Any) -> Any:
        """An execution context that tells of its layers here."""
        context.profiler = self._profiler
        return _Watched(context, self)

    def begin(self) -> None:
        """A step is launched now."""
        self._next_ns = perf_counter_ns()

    def clear(self) -> None:
        """Forget what was told so far."""
        for values in (self._layers, self._starts_ns, self._ms):
            del values[:]

    def medians(self) -> list[tuple[str, float]]:
        """Median milliseconds of each layer, in order of execution."""
        layers, ms = np.array(self._layers), np.array(self._ms)
        return [
            (name, float(np.median(ms[layers == number])))
            for name, number in self._names.items()
            if (layers == number).any()
        ]

    def events(self) -> Iterator[dict[str, Any]]:
        """A complete trace event a layer and step, times in microseconds."""
        names, pid = list(self._names), os.getpid()
        for layer, start_ns, ms in zip(self._layers, self._starts_ns, self._ms, strict=True):
            yield {
                "name": names[layer],
                "cat": "node/layer",
                "ph": "X",
                "ts": start_ns / 1e3,
                "dur": ms * 1e3,
                "pid": pid,
                "tid": TRACK,
            }

    def _add(self, layer: str, ms: float) -> None:
        if len(self._ms) >= _MOST:
            return
        self._layers.append(self._names.setdefault(layer, len(self._names)))
        self._starts_ns.append(self._next_ns)
        self._ms.append(ms)
        self._next_ns += round(ms * 1e6)
        if len(self._ms) == _MOST:
            log.warning("%d layer times are kept; later ones are left out", _MOST)


class _Watched:
    """What a stream needs of an execution context, with a note of every launch."""

    def __init__(self, context: Any, times: LayerTimes) -> None:
        self._context, self._times = context, times
        self.set_tensor_address = context.set_tensor_address

    def execute_async_v3(self, stream: int) -> bool:
        self._times.begin()
        return bool(self._context.execute_async_v3(stream))
