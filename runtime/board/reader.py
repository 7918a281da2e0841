"""Read the board, by jtop where its service runs, else from sysfs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_ser.runtime.board import sysfs
from edge_ser.runtime.board.condition import BoardCondition

__all__ = ["Board", "from_jtop"]

log = logging.getLogger(__name__)

_JTOP_SOCKET = Path("run/jtop.sock")


class Board:
    """Reads the condition of a board; never raises, whatever is missing.

    Args:
        root: where ``/sys`` and ``/proc`` stand.
        jtop: take jtop when its service is there. It knows rails and modes of every Jetson;
            without it the same facts come from sysfs.
    """

    def __init__(self, root: Path = Path("/"), *, jtop: bool = True) -> None:
        self._root = root
        self._jtop: Any = _connect(root) if jtop else None

    def read(self) -> BoardCondition:
        """A look at all sensors, some milliseconds of file reading; not for the hot path."""
        if self._jtop is not None and self._jtop.ok():
            return from_jtop(self._jtop.stats)
        used, total = sysfs.memory_mb(self._root)
        return BoardCondition(
            "sysfs",
            sysfs.temperatures_c(self._root),
            sysfs.power_w(self._root),
            sysfs.clocks_mhz(self._root),
            sysfs.governors(self._root),
            sysfs.power_mode(self._root),
            used,
            total,
        )

    def close(self) -> None:
        """Leave jtop's service."""
        if self._jtop is not None:
            self._jtop.close()
            self._jtop = None


def from_jtop(stats: Mapping[str, Any]) -> BoardCondition:
    """The condition in ``jtop.stats``: ``Temp <name>`` in degrees, ``Power <rail>`` in mW."""
    temperatures: dict[str, float] = {}
    power: dict[str, float] = {}
    for key, value in stats.items():
        if not isinstance(value, int | float):
            continue
        kind, _, name = key.partition(" ")
        # jtop gives -256 for a sensor that is switched off.
        if kind == "Temp" and name and value > -60:
            temperatures[name] = float(value)
        elif kind == "Power" and name:
            power[name] = value / 1e3
    mode = stats.get("nvp model")
    return BoardCondition(
        "jtop", temperatures, power, power_mode=None if mode is None else str(mode)
    )


def _connect(root: Path) -> Any:
    if not (root / _JTOP_SOCKET).exists():
        return None
    try:
        from jtop import jtop

        connection = jtop()
        connection.start()
    except Exception as error:  # its errors share no base class
        log.warning("jtop's service is there but cannot be asked (%s); reading sysfs", error)
        return None
    return connection
