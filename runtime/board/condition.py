"""One look at a board."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["BoardCondition"]


@dataclass(frozen=True)
class BoardCondition:
    """What the sensors of a board said; one that is not there is not listed, never zero.

    Attributes:
        source: ``jtop`` where it told temperatures, power and mode, else ``sysfs``.
        temperatures_c: degrees Celsius by sensor.
        power_w: watts by rail.
        clocks_mhz: megahertz by ``cpu0`` .. and by device (``gpu``, ``emc``).
        governors: of the processor clocks, each once.
        power_mode: name of the power mode (``nvpmodel`` on Jetson).
        memory_used_mb: memory in use, MB (10^6 bytes).
        memory_total_mb: memory that the system manages.
    """

    source: str = "sysfs"
    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    power_w: Mapping[str, float] = field(default_factory=dict)
    clocks_mhz: Mapping[str, float] = field(default_factory=dict)
    governors: tuple[str, ...] = ()
    power_mode: str | None = None
    memory_used_mb: float | None = None
    memory_total_mb: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, only what is known."""
        values = {
            "temperatures_c": dict(self.temperatures_c),
            "power_w": dict(self.power_w),
            "clocks_mhz": dict(self.clocks_mhz),
            "governors": list(self.governors),
            "power_mode": self.power_mode,
            "memory_used_mb": self.memory_used_mb,
            "memory_total_mb": self.memory_total_mb,
        }
        return {"source": self.source} | {
            k: v for k, v in values.items() if v not in (None, {}, [])
        }

    def counters(self) -> dict[str, dict[str, float]]:
        """Numbers for the counter tracks of a trace, by track and then by series."""
        tracks = {
            "temperature (°C)": dict(self.temperatures_c),
            "power (W)": dict(self.power_w),
            "clock (MHz)": dict(self.clocks_mhz),
        }
        if self.memory_used_mb is not None:
            tracks["memory (MB)"] = {"used": self.memory_used_mb}
        return {name: series for name, series in tracks.items() if series}
