"""Read the board from sysfs, and from jtop what it knows better where its service runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from edge_ser.runtime.board.condition import BoardCondition
from edge_ser.runtime.board.sysfs import Sensors

__all__ = ["Board", "from_jtop"]

log = logging.getLogger(__name__)

_JTOP_SOCKET = Path("run/jtop.sock")


class Board:
    """Reads the condition of a board; never raises, whatever is missing or goes away.

    A context manager, or to be closed.

    Args:
        root: where ``/sys`` and ``/proc`` stand.
        jtop: ask jtop when its service is there. It knows temperatures, rails and mode of every
            Jetson; the rest, and without it all, comes from sysfs.
    """

    def __init__(self, root: Path = Path("/"), *, jtop: bool = True) -> None:
        self._sensors = Sensors(root)
        self._jtop: Any = _connect(root) if jtop else None

    def read(self) -> BoardCondition:
        """A look at all sensors, some of a millisecond of file reading; not for the hot path."""
        told, sensors = self._ask_jtop(), self._sensors
        used, total = sensors.memory_mb()
        return BoardCondition(
            told.source,
            told.temperatures_c or sensors.temperatures_c(),
            told.power_w or sensors.power_w(),
            sensors.clocks_mhz(),
            sensors.governors(),
            told.power_mode or sensors.power_mode(),
            used,
            total,
        )

    def close(self) -> None:
        """Leave jtop's service."""
        connection, self._jtop = self._jtop, None
        if connection is not None:
            with suppress(Exception):  # it may be gone already
                connection.close()

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ask_jtop(self) -> BoardCondition:
        """What jtop tells; nothing once its service is lost, which is said once."""
        connection = self._jtop
        if connection is None:
            return BoardCondition()
        try:
            # Otherwise it would wait for the next reading, and longer when there is none.
            if connection.ok(spin=True):
                return from_jtop(connection.stats)
            reason = "it has ended"
        except Exception as error:  # a lost connection is raised here; no common base class
            reason = str(error) or type(error).__name__
        log.warning("jtop's service is lost (%s); reading sysfs from now on", reason)
        self.close()
        return BoardCondition()


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
