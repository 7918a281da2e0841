"""The board's condition beside the time: temperature, clocks, power, memory, power mode."""

from __future__ import annotations

from edge_ser.runtime.board.condition import BoardCondition
from edge_ser.runtime.board.reader import Board
from edge_ser.runtime.board.sampler import BoardSampler

__all__ = ["Board", "BoardCondition", "BoardSampler"]
