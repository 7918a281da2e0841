"""CUDA graphs through the driver library: pycuda has no calls for them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from edge_ser.errors import BackendError

__all__ = ["CudaGraph", "Driver"]

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may allocate meanwhile
_SIGNATURES: dict[str, list[Any]] = {
    "cuCtxGetCurrent": [ctypes.POINTER(ctypes.c_void_p)],
    "cuCtxPushCurrent_v2": [ctypes.c_void_p],
    "cuCtxPopCurrent_v2": [ctypes.POINTER(ctypes.c_void_p)],
    "cuGetErrorString": [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)],
    "cuGraphDestroy": [ctypes.c_void_p],
    "cuGraphExecDestroy": [ctypes.c_void_p],
    "cuGraphInstantiateWithFlags": [
        ctypes.POINTER(ctypes.c_void_p),
        ctypes.c_void_p,
        ctypes.c_ulonglong,
    ],
    "cuGraphLaunch": [ctypes.c_void_p, ctypes.c_void_p],
    "cuStreamBeginCapture_v2": [ctypes.c_void_p, ctypes.c_int],
    "cuStreamEndCapture": [ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)],
    "cuStreamSynchronize": [ctypes.c_void_p],
}


class Driver:
    """The calls of libcuda that a step needs, with their signatures.

    Raises:
        BackendError: there is no driver, or it is too old for CUDA graphs (before 11.4).
    """

    def __init__(self, library: Any = None) -> None:
        try:
            cuda = library if library is not None else ctypes.CDLL("libcuda.so.1")
            for name, arguments in _SIGNATURES.items():
                call = getattr(cuda, name)
                call.argtypes, call.restype = arguments, ctypes.c_int
        except OSError as error:
            raise BackendError(f"no NVIDIA driver: {error}") from error
        except AttributeError as error:
            raise BackendError(
                f"the NVIDIA driver has no CUDA graphs ({error}); edge-ser needs CUDA 11.4 or later"
            ) from error
        self.cuda = cuda

    def check(self, status: int, doing: str) -> None:
        """Raise BackendError unless ``status`` is 0."""
        if status:
            text = ctypes.c_char_p()
            self.cuda.cuGetErrorString(status, ctypes.byref(text))
            said = (text.value or b"unknown error").decode()
            raise BackendError(f"CUDA error {status} while {doing}: {said}")

    @contextmanager
    def current(self, context: ctypes.c_void_p) -> Iterator[None]:
        """Make ``context`` current in this thread, and put back what was there."""
        self.check(self.cuda.cuCtxPushCurrent_v2(context), "making the GPU current")
        try:
            yield
        finally:
            self.cuda.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))

    def synchronize(self, stream: ctypes.c_void_p) -> None:
        """Wait until ``stream`` is empty."""
        self.check(self.cuda.cuStreamSynchronize(stream), "waiting for the GPU")


class CudaGraph:
    """Everything that ``enqueue`` puts on ``stream``, to be launched in one call.

    Args:
        stream: not the default stream; idle, and ``enqueue`` was run on it once before.
        enqueue: puts work on the stream and returns whether that worked.

    Raises:
        BackendError: the work cannot be captured.
    """

    def __init__(
        self, driver: Driver, stream: ctypes.c_void_p, enqueue: Callable[[], bool]
    ) -> None:
        self._driver, self._stream = driver, stream
        self._exec = ctypes.c_void_p()
        graph = ctypes.c_void_p()
        cuda, check = driver.cuda, driver.check
        check(cuda.cuStreamBeginCapture_v2(stream, _THREAD_LOCAL), "beginning a CUDA graph")
        try:
            done = enqueue()
        finally:  # a capture that is never ended would poison the stream
            status = cuda.cuStreamEndCapture(stream, ctypes.byref(graph))
        try:
            if not done:
                raise BackendError("TensorRT refused to enqueue a step into a CUDA graph")
            check(status, "ending a CUDA graph")
            check(
                cuda.cuGraphInstantiateWithFlags(ctypes.byref(self._exec), graph, 0),
                "instantiating a CUDA graph",
            )
        finally:
            if graph:
                cuda.cuGraphDestroy(graph)
        self._launch = cuda.cuGraphLaunch

    def launch(self) -> bool:
        """Put the whole graph on the stream."""
        status = self._launch(self._exec, self._stream)
        if status:
            self._driver.check(status, "launching a step")
        return True

    def destroy(self) -> None:
        """Free it; the context must be current."""
        if self._exec:
            self._driver.cuda.cuGraphExecDestroy(self._exec)
            self._exec = ctypes.c_void_p()
