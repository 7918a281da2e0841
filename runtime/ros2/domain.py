"""Which DDS domain ROS means."""

from __future__ import annotations

import os

from edge_ser.errors import UsageError

__all__ = ["ros_domain"]


def ros_domain() -> int:
    """``ROS_DOMAIN_ID``, 0 where it is not set.

    Raises:
        UsageError: it is no number from 0 to 232.
    """
    text = os.environ.get("ROS_DOMAIN_ID", "0")
    if not (text.isdecimal() and int(text) <= 232):
        raise UsageError(f"ROS_DOMAIN_ID is a number from 0 to 232, got {text!r}")
    return int(text)
