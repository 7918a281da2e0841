"""The two TensorRT products and how their Python bindings are found."""

from __future__ import annotations

import importlib
import platform
import sys
from dataclasses import dataclass
from typing import Any

from edge_ser.engines.host import l4t_release
from edge_ser.errors import BackendError, MissingExtra, UsageError

__all__ = ["PRODUCTS", "Bindings", "load_bindings"]

PRODUCTS: dict[str, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
"""Python module of each backend."""

_OLDEST = (8, 5)  # the tensor-name API and execute_async_v3 begin here


@dataclass(frozen=True)
class Bindings:
    """Imported TensorRT bindings.

    Attributes:
        backend: ``tensorrt`` or ``tensorrt-rtx``.
        trt: the module.
        version: of the product, for example ``10.3.0``.
    """

    backend: str
    trt: Any
    version: str

    @property
    def is_rtx(self) -> bool:
        """Whether this is TensorRT for RTX."""
        return self.backend == "tensorrt-rtx"

    @property
    def is_strongly_typed(self) -> bool:
        """Whether the types in the ONNX decide: TensorRT 10 and later, and RTX."""
        return self.is_rtx or hasattr(self.trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def load_bindings(backend: str) -> Bindings:
    """The bindings of ``backend``.

    Raises:
        UsageError: ``backend`` is no TensorRT product.
        BackendError: they are not there for this Python, too old, or a library is missing.
    """
    if backend not in PRODUCTS:
        raise UsageError(f"{backend!r} builds no engines; known are {', '.join(PRODUCTS)}")
    try:
        trt = importlib.import_module(PRODUCTS[backend])
    except ModuleNotFoundError as error:
        raise _missing(backend) from error
    except (ImportError, OSError) as error:
        raise BackendError(
            f"{backend} is installed but cannot be loaded ({error}); its libraries must match "
            "the bindings and be on the loader's path"
        ) from error
    if not hasattr(trt, "__version__"):  # a folder of that name, such as that of type stubs
        raise _missing(backend)
    version = str(trt.__version__)
    if backend == "tensorrt" and version_tuple(version)[:2] < _OLDEST:
        raise BackendError(
            f"TensorRT {version} is too old: edge-ser needs 8.5 (JetPack 5.1) or later, because "
            "older ones have no tensor-name API; use --backend onnxruntime on this board"
        )
    return Bindings(backend, trt, version)


def version_tuple(version: str) -> tuple[int, ...]:
    """``10.13.3.9`` as numbers; a part that is none ends it."""
    numbers = []
    for part in version.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _missing(backend: str) -> BackendError | MissingExtra:
    if backend == "tensorrt-rtx":
        if platform.machine() not in ("x86_64", "AMD64"):
            return BackendError(
                f"TensorRT for RTX exists for x86-64 only, this is {platform.machine()}; "
                "use --backend tensorrt"
            )
        return MissingExtra("tensorrt-rtx-cu12", "rtx", "build or run TensorRT-RTX engines")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    if l4t_release() is not None:
        return BackendError(
            f"no TensorRT for this Python {python} ({sys.prefix}): JetPack installs it for the "
            "system Python only (/usr/lib/python3*/dist-packages); create the environment with "
            "`python3 -m venv --system-site-packages`, or `sudo apt install python3-libnvinfer`"
        )
    return BackendError(
        f"no TensorRT for this Python {python}; on a Jetson it comes with JetPack, elsewhere: "
        "pip install tensorrt"
    )
