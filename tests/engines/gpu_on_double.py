"""A pytest plugin that runs the GPU tests over the CUDA double, so that they are known to work.

Engines are really built; what runs is the ONNX they were built from. Numbers from it are worth
nothing, and its GPU is called what it is.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

import edge_ser.engines
from edge_ser.converters.engine import build as build_module
from edge_ser.converters.engine import measure
from edge_ser.converters.engine.job import build_apart
from edge_ser.engines import host
from edge_ser.runtime import parity

from . import cuda_double
from .engine_files import KIOSK, plan_of


def install() -> None:
    import tensorrt_rtx

    patch = pytest.MonkeyPatch()
    double = replace(KIOSK, gpu="no GPU, a double in memory")
    cuda_double.install(patch, double, "tensorrt-rtx", str(tensorrt_rtx.__version__))
    for module in (edge_ser.engines, host):
        patch.setattr(module, "find_host", lambda: double)

    def build_and_keep_onnx(backend: str, onnx: bytes, *rest: Any) -> Any:
        plan = build_apart(backend, onnx, *rest)
        return replace(plan, content=plan_of(onnx, "tensorrt-rtx"))

    patch.setattr(build_module, "build_apart", build_and_keep_onnx)
    for module in (parity, measure):
        patch.setattr(module, "time_engine", partial(parity.time_engine, warm_up=1, steps=10))


install()  # when pytest loads the plugin, before any conftest looks for a GPU
