"""ROS 2 topics over DDS, with no ROS installation."""

from __future__ import annotations

from edge_ser.runtime.ros2.bridge import RosBridge
from edge_ser.runtime.ros2.expression import expression_of

__all__ = ["RosBridge", "expression_of"]
