"""The ``edge-ser`` command."""

from __future__ import annotations

from edge_ser.cli.main import main

__all__ = ["main"]
