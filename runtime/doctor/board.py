"""Findings on power, clocks, heat and memory."""

from __future__ import annotations

from collections.abc import Iterator

from edge_ser.runtime.doctor.answers import Answers
from edge_ser.runtime.doctor.check import Check
from edge_ser.runtime.doctor.tree import Tree

__all__ = ["board_checks"]

_LEAST_MEMORY_MB = 250.0
_HOT_C = 85.0
_SLOW_GOVERNORS = ("powersave", "conservative")


def board_checks(tree: Tree, _: Answers) -> Iterator[Check]:
    """What makes a board slower than it could be."""
    condition = tree.condition
    mode = condition.power_mode
    if mode is not None:
        if mode.upper().startswith("MAXN"):
            yield Check("power mode", "ok", mode)
        else:
            yield Check("power mode", "warn", f"{mode}, not the fastest", "sudo nvpmodel -m 0")
    slow = [name for name in condition.governors if name in _SLOW_GOVERNORS]
    clocks = ", ".join(f"{name} {mhz:.0f} MHz" for name, mhz in condition.clocks_mhz.items())
    if slow:
        yield Check(
            "clocks", "warn", f"governor {slow[0]}; {clocks}",
            "sudo jetson_clocks" if tree.l4t else
            "echo schedutil | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        )  # fmt: skip
    elif condition.governors or clocks:
        yield Check("clocks", "ok", f"{', '.join(condition.governors) or 'fixed'}; {clocks}")
    if condition.temperatures_c:
        name, hottest = max(condition.temperatures_c.items(), key=lambda row: row[1])
        if hottest >= _HOT_C:
            yield Check(
                "temperature", "warn", f"{name} {hottest:.0f} °C: it will slow itself down",
                "give it air, a heat sink or a fan, or a lower power mode",
            )  # fmt: skip
        else:
            yield Check("temperature", "ok", f"{name} {hottest:.0f} °C is the hottest")
    if tree.throttled:
        when = "is" if tree.throttled & 0xF else "was"
        yield Check(
            "power supply", "warn",
            f"there {when} under-voltage or throttling (0x{tree.throttled:x})",
            "use the official power supply and cable of the board",
        )  # fmt: skip
    used, total = condition.memory_used_mb, condition.memory_total_mb
    if used is not None and total is not None:
        free = total - used
        detail = f"{free:.0f} of {total:.0f} MB free"
        if free < _LEAST_MEMORY_MB:
            yield Check("memory", "warn", detail, "stop the desktop: sudo init 3")
        else:
            yield Check("memory", "ok", detail)
