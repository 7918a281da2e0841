"""One GPU through pycuda: its context, memory and streams, usable from any thread."""

from __future__ import annotations

import atexit
import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import BackendError, MissingExtra
from edge_ser.runtime.backends.cuda_graph import Driver

__all__ = ["CudaDevice", "StateBlock"]

_ALIGNMENT = 256
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: never waits for the default stream


class CudaDevice:
    """The primary context of a GPU, shared with everything else in the process.

    Raises:
        MissingExtra: pycuda is not installed.
        BackendError: there is no driver or no GPU.
    """

    def __init__(self, ordinal: int = 0, driver: Driver | None = None) -> None:
        try:
            import pycuda.driver as cuda
        except ModuleNotFoundError as error:
            raise MissingExtra("pycuda", "tensorrt", "run TensorRT engines") from error
        except ImportError as error:
            raise BackendError(
                f"pycuda cannot be loaded ({error}): there is no NVIDIA driver here, or it was "
                "built for another CUDA; in a container use --runtime nvidia or --gpus all"
            ) from error
        self._cuda: Any = cuda
        try:
            cuda.init()
            self._context: Any = cuda.Device(ordinal).retain_primary_context()
        except cuda.Error as error:
            raise BackendError(f"GPU {ordinal} cannot be used: {error}") from error
        # pycuda's own destructor takes a primary context for another kind and complains at exit.
        atexit.register(self._context.detach)
        self.driver = driver or Driver()
        self.handle = ctypes.c_void_p(self._context.handle)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make this GPU the one that this thread uses, and put back what was there.

        Whatever pycuda makes or frees must be made and freed inside: elsewhere it frees only in
        the thread that made it, and otherwise leaks with a warning.

        Raises:
            BackendError: anything that CUDA refuses inside.
        """
        self._context.push()
        try:
            yield
        except self._cuda.MemoryError as error:
            raise BackendError(
                f"the GPU has no memory left for another stream{self._free_memory()}: {error}"
            ) from error
        except self._cuda.Error as error:
            raise BackendError(f"CUDA failed: {error}") from error
        finally:
            self._context.pop()

    def _free_memory(self) -> str:
        try:
            free, total = self._cuda.mem_get_info()
        except self._cuda.Error:  # after some faults nothing works any more
            return ""
        return f" ({free >> 20} of {total >> 20} MB free)"

    def stream(self) -> Any:
        """A stream of its own; ``handle`` is what TensorRT takes."""
        return self._cuda.Stream(_NON_BLOCKING)

    def mapped(self, shape: Sequence[int]) -> tuple[NDArray[np.float32], int]:
        """A float array that CPU and GPU share, and its address on the GPU.

        Nothing has to be copied: a Jetson has one memory for both, elsewhere the GPU reads
        these few hundred bytes over the bus.
        """
        array = self._cuda.pagelocked_empty(
            tuple(shape), np.float32, mem_flags=self._cuda.host_alloc_flags.DEVICEMAP
        )
        array[:] = 0.0
        return array, int(array.base.get_device_pointer())

    def block(self, arrays: Sequence[NDArray[Any]]) -> StateBlock:
        """Device memory that holds copies of ``arrays``, in one piece."""
        return StateBlock(self._cuda, arrays)


class StateBlock:
    """Several tensors in one allocation, so that one copy moves them all.

    Freed with the last reference, which must go while the context is current.

    Attributes:
        addresses: of each tensor on the GPU.
        nbytes: of the block.
    """

    def __init__(self, cuda: Any, arrays: Sequence[NDArray[Any]]) -> None:
        offsets, end = [], 0
        for array in arrays:
            offsets.append(end)
            end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        self._cuda = cuda
        self.nbytes = max(end, _ALIGNMENT)
        self._memory = cuda.mem_alloc(self.nbytes)
        self.base = int(self._memory)
        self.addresses = [self.base + offset for offset in offsets]
        for address, array in zip(self.addresses, arrays, strict=True):
            cuda.memcpy_htod(address, np.ascontiguousarray(array))
        cuda.Context.synchronize()  # a copy may still be on its way, and no stream waits for it

    def copy_from(self, other: StateBlock, stream: Any) -> None:
        """Take the content of a block of the same layout, in the order of ``stream``."""
        self._cuda.memcpy_dtod_async(self.base, other.base, self.nbytes, stream)
