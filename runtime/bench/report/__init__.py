"""A benchmark as one self-contained page, for the screen, for paper and for screen readers."""

from __future__ import annotations

from edge_ser.runtime.bench.report.page import render_page, write_report

__all__ = ["render_page", "write_report"]
