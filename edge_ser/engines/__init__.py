"""TensorRT engines as files: what builders write and runtimes check before they load.

Shared by ``edge_ser.converters`` and ``edge_ser.runtime``; needs neither onnx nor TensorRT.
"""

from __future__ import annotations

from edge_ser.engines.cache import EngineCache, cache_folder
from edge_ser.engines.check import check_engine
from edge_ser.engines.host import Host, find_host
from edge_ser.engines.product import PRODUCTS, Bindings, load_bindings
from edge_ser.engines.sidecar import Sidecar, TensorRecord, read_sidecar, sidecar_path

__all__ = [
    "PRODUCTS",
    "Bindings",
    "EngineCache",
    "Host",
    "Sidecar",
    "TensorRecord",
    "cache_folder",
    "check_engine",
    "find_host",
    "load_bindings",
    "read_sidecar",
    "sidecar_path",
]
