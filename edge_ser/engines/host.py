"""The machine an engine is built for: GPU, driver, JetPack, read without any CUDA package."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Host", "find_host", "has_int8", "l4t_release"]

_TEGRA_RELEASE = Path("/etc/nv_tegra_release")
_DRIVER_RELEASE = Path("/sys/module/nvidia/version")
_MAJOR, _MINOR = 75, 76  # CUdevice_attribute


@dataclass(frozen=True)
class Host:
    """GPU and software of a machine.

    Attributes:
        compute_capability: for example ``8.7``; None without a usable GPU.
        gpu: its name.
        driver: version of the kernel's NVIDIA driver, for example ``560.35.03``; None where the
            kernel does not tell, as on Jetsons before JetPack 7.
        l4t: of a Jetson, for example ``36.4.3``.
        problem: why there is no usable GPU.
        cuda: highest CUDA version that the driver knows, for example ``12.6``.
    """

    compute_capability: str | None = None
    gpu: str | None = None
    driver: str | None = None
    l4t: str | None = None
    problem: str | None = None
    cuda: str | None = None

    @property
    def has_gpu(self) -> bool:
        """Whether engines can run here."""
        return self.compute_capability is not None


def find_host(ordinal: int = 0) -> Host:
    """What this machine has; never raises for a machine without a GPU."""
    l4t = l4t_release()
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Host(l4t=l4t, problem=_no_driver("libcuda.so.1 cannot be opened"))
    status = cuda.cuInit(0)
    if status:
        return Host(l4t=l4t, problem=_no_driver(f"cuInit says {_describe(cuda, status)}"))
    version, device = ctypes.c_int(), ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(version))
    known = f"{version.value // 1000}.{version.value % 1000 // 10}"
    driver = driver_release()
    status = cuda.cuDeviceGet(ctypes.byref(device), ordinal)
    if status:
        problem = f"there is no GPU {ordinal} ({_describe(cuda, status)})"
        return Host(driver=driver, l4t=l4t, problem=problem, cuda=known)
    name = ctypes.create_string_buffer(128)
    cuda.cuDeviceGetName(name, len(name), device)
    major, minor = (_attribute(cuda, kind, device) for kind in (_MAJOR, _MINOR))
    gpu = name.value.decode(errors="replace")
    return Host(f"{major}.{minor}", gpu, driver, l4t, cuda=known)


def driver_release(file: Path = _DRIVER_RELEASE) -> str | None:
    """Version of the kernel's NVIDIA driver; None if it does not tell."""
    try:
        return file.read_text(errors="replace").strip() or None
    except OSError:
        return None


def l4t_release(file: Path = _TEGRA_RELEASE) -> str | None:
    """Release of Linux for Tegra, for example ``36.4.3``; None if this is no Jetson."""
    try:
        line = file.read_text(errors="replace").split("\n", 1)[0]
    except OSError:
        return None
    match = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+)", line)
    return f"{match[1]}.{match[2]}" if match else None


def has_int8(compute_capability: str) -> bool:
    """Whether GPUs of this compute capability have INT8 arithmetic that TensorRT uses.

    Jetson Nano (5.3) and TX2 (6.2) have none: an INT8 build there runs in FP32, slower than
    FP16 and without a word.
    """
    major, _, minor = compute_capability.partition(".")
    number = int(major), int(minor)
    return number >= (6, 1) and number != (6, 2)


def _attribute(cuda: Any, kind: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    cuda.cuDeviceGetAttribute(ctypes.byref(value), kind, device)
    return value.value


def _describe(cuda: Any, status: int) -> str:
    text = ctypes.c_char_p()
    cuda.cuGetErrorString(status, ctypes.byref(text))
    return f"{(text.value or b'unknown error').decode()} (CUDA {status})"


def _no_driver(reason: str) -> str:
    return (
        f"no usable NVIDIA driver: {reason}; on a Jetson the user must be in the group video, "
        "in a container use --runtime nvidia or --gpus all"
    )
