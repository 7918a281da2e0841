"""Inference engines behind one protocol."""

from __future__ import annotations

from edge_ser.runtime.backends.base import Engine, EngineGroup, EngineStream
from edge_ser.runtime.backends.choice import BACKENDS, load_engine

__all__ = ["BACKENDS", "Engine", "EngineGroup", "EngineStream", "load_engine"]
