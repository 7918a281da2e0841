"""Inference engines behind one protocol."""

from __future__ import annotations

from edge_ser.runtime.backends.base import Engine, EngineStream
from edge_ser.runtime.backends.choice import BACKENDS, load_engine

__all__ = ["BACKENDS", "Engine", "EngineStream", "load_engine"]
