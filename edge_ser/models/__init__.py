"""Networks in torch; imported only where models are trained or converted."""

from __future__ import annotations

from edge_ser.models.student import Student, StudentConfig, StudentOutput

__all__ = ["Student", "StudentConfig", "StudentOutput"]
