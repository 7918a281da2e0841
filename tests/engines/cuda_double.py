"""TensorRT, pycuda and libcuda in memory: engines are ONNX models, addresses are real.

Plans are ``ftrt`` or an RTX header around ONNX bytes that ONNX Runtime computes. Device
memory is host memory whose addresses are real, so a wrong or freed address shows. A CUDA graph
keeps what was enqueued while capturing. Calls outside of a current context fail, as in CUDA.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

HANDLE = 4242


class Gpu:
    """What the fake libraries share: memory, contexts, graphs, and counts of every call."""

    def __init__(self) -> None:
        self.memory: dict[int, np.ndarray] = {}
        self.calls: list[str] = []
        self.capturing: list[Callable[[], None]] | None = None
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.can_capture = True
        self.fails: set[str] = set()
        self.free_bytes = 1 << 30
        self.leaked: list[str] = []
        self._thread = threading.local()

    @property
    def stack(self) -> list[int]:
        """Contexts of this thread, the current one last."""
        if not hasattr(self._thread, "stack"):
            self._thread.stack = []
        return self._thread.stack  # type: ignore[no-any-return]

    def must_be_current(self) -> None:
        if not self.stack or self.stack[-1] != HANDLE:
            raise AssertionError("a CUDA call without the context being current")

    def freed(self, what: str) -> None:
        """pycuda frees nothing in a thread in which its context is not current."""
        if not self.stack or self.stack[-1] != HANDLE:
            self.leaked.append(what)

    def allocate(self, nbytes: int) -> np.ndarray:
        self.must_be_current()
        array = np.full(nbytes, 0xCD, np.uint8)
        self.memory[array.ctypes.data] = array
        return array

    def view(self, address: int, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
        """The tensor at an address, which must lie in live memory."""
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        for base, array in list(self.memory.items()):  # other threads allocate meanwhile
            if base <= address and address + nbytes <= base + array.nbytes:
                begin = address - base
                return array[begin : begin + nbytes].view(dtype).reshape(shape)
        raise AssertionError(f"an illegal memory access at {address}")

    def run(self, work: Callable[[], None]) -> None:
        if self.capturing is not None:
            self.capturing.append(work)
        else:
            work()


class Libcuda:
    """The calls of libcuda that the runtime makes through ctypes."""

    def __init__(self, gpu: Gpu) -> None:
        def put(pointer: Any, value: int) -> None:
            pointer._obj.value = value

        def call(name: str, action: Callable[..., int]) -> Any:
            def run(*arguments: Any) -> int:
                gpu.calls.append(name)
                if name in gpu.fails:
                    return 700
                return action(*arguments)

            return run

        def current(pointer: Any) -> int:
            put(pointer, gpu.stack[-1] if gpu.stack else 0)
            return 0

        def begin(stream: Any, mode: int) -> int:
            assert mode == 1
            if not gpu.can_capture:
                return 901
            gpu.capturing = []
            return 0

        def end(stream: Any, graph: Any) -> int:
            if gpu.capturing is None:
                return 901
            gpu.graphs[len(gpu.graphs) + 1] = gpu.capturing
            put(graph, len(gpu.graphs))
            gpu.capturing = None
            return 0

        def instantiate(executable: Any, graph: Any, flags: int) -> int:
            put(executable, graph.value)
            return 0

        def launch(executable: Any, stream: Any) -> int:
            gpu.must_be_current()
            for work in gpu.graphs[executable.value]:
                work()
            return 0

        def describe(status: int, pointer: Any) -> int:
            pointer._obj.value = b"an illegal memory access was encountered"
            return 0

        nothing = lambda *arguments: 0  # noqa: E731
        for name, action in {
            "cuCtxGetCurrent": current,
            "cuCtxPushCurrent_v2": lambda handle: gpu.stack.append(handle.value) or 0,
            "cuCtxPopCurrent_v2": lambda pointer: put(pointer, gpu.stack.pop()) or 0,
            "cuGetErrorString": describe,
            "cuGraphDestroy": nothing,
            "cuGraphExecDestroy": nothing,
            "cuGraphInstantiateWithFlags": instantiate,
            "cuGraphLaunch": launch,
            "cuStreamBeginCapture_v2": begin,
            "cuStreamEndCapture": end,
            "cuStreamSynchronize": nothing,
        }.items():
            setattr(self, name, call(name, action))


def pycuda_module(gpu: Gpu) -> types.ModuleType:
    """A stand-in for ``pycuda.driver``."""
    driver = types.ModuleType("pycuda.driver")

    class Error(Exception):
        pass

    class OutOfMemory(Error):
        pass

    class Context:
        handle = HANDLE

        def push(self) -> None:
            gpu.stack.append(HANDLE)

        def pop(self) -> None:
            assert gpu.stack.pop() == HANDLE

        def detach(self) -> None:
            pass

    class Device:
        def __init__(self, ordinal: int) -> None:
            if ordinal:
                raise Error("invalid device ordinal")

        def retain_primary_context(self) -> Context:
            return Context()

    class Contexts:
        @staticmethod
        def synchronize() -> None:
            gpu.must_be_current()

    class Stream:
        def __init__(self, flags: int = 0) -> None:
            gpu.must_be_current()
            assert flags == 1, "the stream must not wait for the default stream"
            self.handle = id(self)

        def __del__(self) -> None:
            gpu.freed("stream")

    class Memory:
        def __init__(self, nbytes: int) -> None:
            gpu.calls.append("mem_alloc")
            if nbytes > gpu.free_bytes:
                raise OutOfMemory("out of memory")
            self._array = gpu.allocate(nbytes)

        def __int__(self) -> int:
            return self._array.ctypes.data

        def __del__(self) -> None:
            if hasattr(self, "_array"):
                gpu.freed("memory")
                del gpu.memory[int(self)]

    class Mapped(np.ndarray):
        def __del__(self) -> None:
            gpu.freed("mapped memory")

        def get_device_pointer(self) -> int:
            return self.ctypes.data

    def pagelocked_empty(shape: Any, dtype: Any, mem_flags: int = 0) -> np.ndarray:
        assert mem_flags == 2
        gpu.calls.append("pagelocked_empty")
        raw = gpu.allocate(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return raw.view(Mapped)[:].view(_Owned).setup(raw.view(Mapped), shape, dtype)

    class _Owned(np.ndarray):
        def setup(self, owner: Any, shape: Any, dtype: Any) -> Any:
            array = np.ndarray.__new__(_Array, shape, dtype, buffer=owner)
            array.owner = owner
            return array

    class _Array(np.ndarray):
        owner: Any = None

        @property
        def base(self) -> Any:  # pycuda keeps the host allocation here
            return self.owner

    def htod(address: int, array: np.ndarray) -> None:
        gpu.must_be_current()
        gpu.calls.append("memcpy_htod")
        gpu.view(address, array.dtype, array.shape)[...] = array

    def dtod(to: int, source: int, nbytes: int, stream: Any) -> None:
        gpu.must_be_current()
        gpu.calls.append("memcpy_dtod_async")
        gpu.view(to, np.uint8, (nbytes,))[...] = gpu.view(source, np.uint8, (nbytes,))

    driver.__dict__.update(
        Error=Error, MemoryError=OutOfMemory, Device=Device, Context=Contexts, Stream=Stream, init=lambda: None,
        mem_alloc=Memory, pagelocked_empty=pagelocked_empty, memcpy_htod=htod,
        memcpy_dtod_async=dtod, mem_get_info=lambda: (gpu.free_bytes, 1 << 33),
        host_alloc_flags=types.SimpleNamespace(DEVICEMAP=2),
    )  # fmt: skip
    return driver


def tensorrt_module(gpu: Gpu, name: str, version: str) -> types.ModuleType:
    """A stand-in for the runtime half of ``tensorrt`` or ``tensorrt_rtx``."""
    import onnxruntime as ort

    trt = types.ModuleType(name)
    numpy_types = {"tensor(float)": np.float32, "tensor(int8)": np.int8}

    class Logger:
        ERROR, INTERNAL_ERROR, WARNING, INFO, VERBOSE = range(5)

    class Profiler:
        pass

    class Config:
        cuda_graph_strategy: Any = None

    class Context:
        profiler: Any = None

        def __init__(self, session: Any, config: Any) -> None:
            self._session, self.config = session, config
            self._address: dict[str, int] = {}

        def set_tensor_address(self, tensor: str, address: int) -> bool:
            gpu.calls.append("set_tensor_address")
            self._address[tensor] = address
            return True

        def execute_async_v3(self, stream: int) -> bool:
            gpu.calls.append("execute_async_v3")
            if "execute_async_v3" in gpu.fails:
                return False
            gpu.must_be_current()
            gpu.run(self._compute)
            if self.profiler is not None:
                self.profiler.report_layer_time("conv", 0.25)
                self.profiler.report_layer_time("gemm", 0.5)
            return True

        def _compute(self) -> None:
            def view(item: Any) -> np.ndarray:
                dtype = numpy_types[item.type]
                return gpu.view(self._address[item.name], dtype, tuple(item.shape))

            feed = {item.name: view(item).copy() for item in self._session.get_inputs()}
            outputs = self._session.get_outputs()
            results = self._session.run([item.name for item in outputs], feed)
            for item, value in zip(outputs, results, strict=True):
                view(item)[...] = value

    class Engine:
        def __init__(self, session: Any) -> None:
            self._session = session
            self._tensors = [("in", item) for item in session.get_inputs()]
            self._tensors += [("out", item) for item in session.get_outputs()]
            self.num_io_tensors = len(self._tensors)
            self.configs: list[Any] = []

        def _find(self, name: str) -> tuple[str, Any]:
            return next(pair for pair in self._tensors if pair[1].name == name)

        def get_tensor_name(self, index: int) -> str:
            return str(self._tensors[index][1].name)

        def get_tensor_mode(self, name: str) -> str:
            return self._find(name)[0]

        def get_tensor_dtype(self, name: str) -> Any:
            return numpy_types[self._find(name)[1].type]

        def get_tensor_shape(self, name: str) -> Any:
            return self._find(name)[1].shape

        def create_execution_context(self, config: Any = None) -> Any:
            gpu.must_be_current()
            self.configs.append(config)
            return Context(self._session, config)

    if name == "tensorrt_rtx":
        Engine.create_runtime_config = lambda self: Config()  # type: ignore[attr-defined]
        trt.ComputeCapability = types.SimpleNamespace(SM75=75, SM86=86)  # type: ignore[attr-defined]

    class Runtime:
        def __init__(self, logger: Any) -> None:
            gpu.must_be_current()
            self._logger = logger

        def deserialize_cuda_engine(self, content: bytes) -> Any:
            gpu.calls.append("deserialize")
            try:
                header = 64 if name == "tensorrt_rtx" else 4
                return Engine(ort.InferenceSession(content[header:]))
            except Exception:
                self._logger.log(Logger.ERROR, "Version tag does not match. Error Code 1")
                return None

    trt.__dict__.update(
        __version__=version, ILogger=Logger, IProfiler=Profiler, Runtime=Runtime,
        TensorIOMode=types.SimpleNamespace(INPUT="in", OUTPUT="out"),
        float32=np.float32, float16=np.float16, int8=np.int8, int32=np.int32,
        NetworkDefinitionCreationFlag=types.SimpleNamespace(STRONGLY_TYPED=1),
        CudaGraphStrategy=types.SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole"),
    )  # fmt: skip
    return trt


def install(monkeypatch: pytest.MonkeyPatch, host: Any, product: str, version: str) -> Gpu:
    """Put the stand-ins in place of the real libraries."""
    gpu = Gpu()
    name = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}[product]
    driver = pycuda_module(gpu)
    package = types.ModuleType("pycuda")
    package.driver = driver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    monkeypatch.setitem(sys.modules, name, tensorrt_module(gpu, name, version))
    from edge_ser.runtime.backends import cuda_device, trt
    from edge_ser.runtime.backends.cuda_graph import Driver

    monkeypatch.setattr(trt, "find_host", lambda: host)
    monkeypatch.setattr(cuda_device, "Driver", lambda: Driver(Libcuda(gpu)))
    assert ctypes.sizeof(ctypes.c_void_p) == 8
    return gpu
