"""One stream on the GPU: state that never leaves it, and one launch per step."""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.engines.log import explain
from edge_ser.errors import BackendError
from edge_ser.pack import Target
from edge_ser.runtime.backends.cuda_device import CudaDevice
from edge_ser.runtime.backends.cuda_graph import CudaGraph

__all__ = ["TrtStream"]

log = logging.getLogger(__name__)

_WARM_UPS = 3


class TrtStream:
    """Two execution contexts take turns: what one writes as new state the other reads as old.

    Everything is made here once: mapped memory for frames and scores, two blocks of device
    memory for the state, a third with the state before a stream begins, a CUDA stream, and a
    CUDA graph per parity. A step launches one graph and waits; it copies and allocates nothing.
    A stream is used by one thread at a time, any thread.

    Args:
        new_context: makes an execution context.
        launches_itself: TensorRT for RTX makes its own CUDA graph; a profiler forbids one.
        errors: of TensorRT's log.

    Raises:
        BackendError: memory is short, or TensorRT refuses a tensor or a step.
    """

    def __init__(
        self,
        device: CudaDevice,
        new_context: Callable[[], Any],
        target: Target,
        mel_shape: tuple[int, ...],
        n_labels: int,
        launches_itself: bool,
        errors: list[str],
    ) -> None:
        self._device, self._errors = device, errors
        self._graphs: list[CudaGraph] = []
        begin = [spec.initial() for spec in target.states]
        with device.current():
            self._stream = device.stream()
            self._handle = ctypes.c_void_p(self._stream.handle)
            self.mel, mel_address = device.mapped(mel_shape)
            self._logits, logits_address = device.mapped((1, n_labels))
            self._begin = device.block(begin)
            self._states = [device.block(begin), device.block(begin)]
            self._contexts = [new_context(), new_context()]
            for turn, context in enumerate(self._contexts):
                tables = (self._states[turn].addresses, self._states[1 - turn].addresses)
                _bind(context, "mel", mel_address)
                _bind(context, "logits", logits_address)
                for spec, old, new in zip(target.states, *tables, strict=True):
                    _bind(context, spec.input, old)
                    _bind(context, spec.output, new)
            self._launches = [self._enqueue(context) for context in self._contexts]
            for _ in range(_WARM_UPS):
                for launch in self._launches:
                    self._check(launch())
                    device.driver.synchronize(self._handle)
            if not launches_itself:
                self._capture()
            for launch in self._launches:  # the first launch of a graph uploads it
                self._check(launch())
                device.driver.synchronize(self._handle)
            self._restore()
        self._turn = 0
        self._current = ctypes.c_void_p()
        self._current_ref = ctypes.byref(self._current)
        self._get_current = device.driver.cuda.cuCtxGetCurrent
        self._wait = device.driver.cuda.cuStreamSynchronize

    def step(self) -> NDArray[np.float32]:
        """Run one step on ``mel``.

        Raises:
            BackendError: CUDA or TensorRT failed.
        """
        # The GPU is made current only if it is not: another library of this thread may have
        # its own context, which is put back afterwards.
        self._get_current(self._current_ref)
        if self._current.value == self._device.handle.value:
            self._run()
        else:
            with self._device.driver.current(self._device.handle):
                self._run()
        return self._logits

    def reset(self) -> None:
        """Put the initial state back, by one copy on the GPU."""
        with self._device.current():
            self._restore()
        self._turn = 0

    def _run(self) -> None:
        if not self._launches[self._turn]():
            self._check(False)
        status = self._wait(self._handle)
        if status:
            self._device.driver.check(status, "waiting for a step")
        self._turn ^= 1

    def _enqueue(self, context: Any) -> Callable[[], bool]:
        handle = self._stream.handle
        execute = context.execute_async_v3
        return lambda: bool(execute(handle))

    def _capture(self) -> None:
        """A graph per parity; without graphs a step takes longer but gives the same."""
        try:
            for launch in self._launches:
                self._graphs.append(CudaGraph(self._device.driver, self._handle, launch))
        except BackendError as error:
            log.warning("no CUDA graph for this engine, steps are enqueued one by one: %s", error)
            while self._graphs:
                self._graphs.pop().destroy()
            return
        self._launches = [graph.launch for graph in self._graphs]

    def _restore(self) -> None:
        self._states[0].copy_from(self._begin, self._stream)
        self._device.driver.synchronize(self._handle)

    def __del__(self) -> None:
        """Free everything with the GPU current, in whatever thread the last reference goes.

        A stream that was never finished, for want of memory say, frees what it got so far.
        """
        if sys.is_finalizing():
            return  # the driver may be gone; the process takes everything along
        try:
            with self._device.current():
                for graph in self._graphs:
                    graph.destroy()
                # TensorRT's contexts go before the memory they point to.
                self._graphs, self._launches, self._contexts = [], [], []
                self.__dict__.clear()
        except BackendError as error:
            log.warning("a stream could not be freed: %s", error)

    def _check(self, done: bool) -> None:
        if not done:
            raise BackendError(f"TensorRT refused a step: {explain(self._errors)}")


def _bind(context: Any, name: str, address: int) -> None:
    if not context.set_tensor_address(name, address):
        raise BackendError(f"TensorRT takes no buffer for tensor {name!r}")
