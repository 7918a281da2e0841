"""What this machine has, what would be used, and what to mend."""

from __future__ import annotations

from edge_ser.runtime.doctor.answers import Answers, ask, read_answers
from edge_ser.runtime.doctor.check import Check
from edge_ser.runtime.doctor.examine import examine
from edge_ser.runtime.doctor.support import write_support
from edge_ser.runtime.doctor.tree import Tree

__all__ = ["Answers", "Check", "Tree", "ask", "examine", "read_answers", "write_support"]
