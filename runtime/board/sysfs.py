"""Sensors as files: thermal zones, hwmon (INA3221 on Jetson), cpufreq, devfreq.

Names and units are those of the kernel's documentation: hwmon in millidegrees, millivolts,
milliamperes and microwatts (``Documentation/hwmon/sysfs-interface.rst``), thermal zones in
millidegrees, cpufreq in kHz, devfreq in Hz.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

__all__ = ["Sensors"]

_COLDEST_C, _HOTTEST_C = -60.0, 200.0  # a switched-off zone reports nonsense, e.g. -256 or -274
_SUM_RAIL = re.compile(r"^sum of shunt", re.IGNORECASE)
_MEMORY = re.compile(r"^(MemTotal|MemAvailable):\s+(\d+) kB", re.MULTILINE)


class Sensors:
    """The sensors under ``root``; where they are is found out once, what they say each time.

    Two sensors of one name are kept apart by a number. One that says nothing, or nonsense, is
    absent in that look.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._meminfo = str(root / "proc/meminfo")
        self._power_status = str(root / "var/lib/nvpmodel/status")

    def temperatures_c(self) -> dict[str, float]:
        """Degrees Celsius of every thermal zone and hwmon sensor."""
        found = {}
        for name, path in self._thermometers.items():
            millidegrees = _number(path)
            if millidegrees is not None and _COLDEST_C < millidegrees / 1e3 < _HOTTEST_C:
                found[name] = millidegrees / 1e3
        return found

    def power_w(self) -> dict[str, float]:
        """Watts of every rail that is measured.

        A chip gives power itself (``power1_input``, microwatts) or voltage and current of each
        rail, as the INA3221 of Jetson boards does.
        """
        found = {}
        for name, (paths, scale) in self._rails.items():
            factors = [value for path in paths if (value := _number(path)) is not None]
            if len(factors) == len(paths):
                found[name] = math.prod(factors) / scale
        return found

    def clocks_mhz(self) -> dict[str, float]:
        """Present clock of every processor core, and of devices such as the GPU."""
        found = {}
        for name, (path, scale) in self._clocks.items():
            value = _number(path)
            if value is not None:
                found[name] = value / scale
        return found

    def governors(self) -> tuple[str, ...]:
        """The clock governors in use, each once, sorted."""
        return tuple(sorted({name for path in self._governors if (name := _text(path))}))

    def power_mode(self) -> str | None:
        """Name of Jetson's power mode, from nvpmodel's state and its table; None elsewhere."""
        match = re.search(r"pmode:(\d+)", _text(self._power_status))
        if match is None:
            return None
        number = str(int(match.group(1)))
        return self._power_modes.get(number, f"mode {number}")

    def memory_mb(self) -> tuple[float | None, float | None]:
        """Memory in use and in total in MB, each None where the system does not say."""
        kib = {key: int(value) for key, value in _MEMORY.findall(_text(self._meminfo))}
        total, available = kib.get("MemTotal"), kib.get("MemAvailable")
        used = None if total is None or available is None else (total - available) * 1024 / 1e6
        return (
            None if used is None else round(used, 1),
            None if total is None else round(total * 1024 / 1e6, 1),
        )

    @cached_property
    def _chips(self) -> list[tuple[str, Path]]:
        chips = _folders(self._root / "sys/class/hwmon", "hwmon")
        return [(_text(chip / "name") or chip.name, chip) for chip in chips]

    @cached_property
    def _thermometers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for zone in _folders(self._root / "sys/class/thermal", "thermal_zone"):
            found[_free(found, _text(zone / "type") or zone.name)] = str(zone / "temp")
        for chip_name, chip in self._chips:
            for sensor in _numbered(chip, r"temp(\d+)_input"):
                label = _text(chip / f"temp{sensor}_label") or f"{chip_name} {sensor}"
                found[_free(found, label)] = str(chip / f"temp{sensor}_input")
        return found

    @cached_property
    def _rails(self) -> dict[str, tuple[list[str], float]]:
        """Files whose product is power, and how much of it is a watt."""
        found: dict[str, tuple[list[str], float]] = {}
        for chip_name, chip in self._chips:
            for rail in _numbered(chip, r"power(\d+)_(?:input|average)"):
                label = _text(chip / f"power{rail}_label") or f"{chip_name} {rail}"
                power = chip / f"power{rail}_input"
                if _number(power) is None:
                    power = chip / f"power{rail}_average"
                found[_free(found, label)] = [str(power)], 1e6
            for rail in _numbered(chip, r"curr(\d+)_input"):
                label = _text(chip / f"in{rail}_label") or f"{chip_name} {rail}"
                factors = [chip / f"curr{rail}_input", chip / f"in{rail}_input"]
                if factors[1].exists() and not _SUM_RAIL.match(label):
                    found[_free(found, label)] = [str(path) for path in factors], 1e6
        # JetPack 4 shows the same chip as an iio device with milliwatts.
        drivers = self._root / "sys/bus/i2c/drivers/ina3221x"
        for device in sorted(drivers.glob("*/iio:device*")):
            for rail in _numbered(device, r"in_power(\d+)_input"):
                label = _text(device / f"rail_name_{rail}") or f"rail {rail}"
                found[_free(found, label)] = [str(device / f"in_power{rail}_input")], 1e3
        return found

    @cached_property
    def _cores(self) -> list[tuple[str, Path]]:
        """Where each core tells of its clock; while a core is off, nothing is there."""
        folder = self._root / "sys/devices/system/cpu"
        names = [f"cpu{core}" for core in _numbered(folder, r"cpu(\d+)")]
        cores = [(name, folder / name / "cpufreq") for name in names]
        return cores if any(path.exists() for _, path in cores) else []

    @cached_property
    def _clocks(self) -> dict[str, tuple[str, float]]:
        """Files with kHz or Hz, and how many of these are a MHz."""
        found = {name: (str(path / "scaling_cur_freq"), 1e3) for name, path in self._cores}
        for device in _folders(self._root / "sys/class/devfreq", ""):
            # ``17000000.gpu`` is ``gpu``.
            found[_free(found, device.name.rpartition(".")[2])] = str(device / "cur_freq"), 1e6
        return found

    @cached_property
    def _governors(self) -> list[str]:
        return [str(path / "scaling_governor") for _, path in self._cores]

    @cached_property
    def _power_modes(self) -> dict[str, str]:
        table = _text(self._root / "etc/nvpmodel.conf", 2**20)
        entries = re.findall(r"<\s*POWER_MODEL\s+([^>]*)>", table)
        modes = [dict(re.findall(r"(\w+)=(\S+)", entry)) for entry in entries]
        return {mode["ID"]: mode["NAME"] for mode in reversed(modes) if {"ID", "NAME"} <= set(mode)}


def _free(found: Mapping[str, object], label: str) -> str:
    """``label``, or with a number behind it where a sensor has that name already."""
    name, turn = label, 2
    while name in found:
        name, turn = f"{label} #{turn}", turn + 1
    return name


def _folders(parent: Path, prefix: str) -> Iterator[Path]:
    try:
        names = [entry for entry in parent.iterdir() if entry.name.startswith(prefix)]
    except OSError:
        return
    yield from sorted(names, key=_natural)


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """Sort key by which ``hwmon2`` comes before ``hwmon10``."""
    parts = re.split(r"(\d+)", path.name)
    return [(1, int(part)) if part.isdigit() else (0, part) for part in parts]


def _numbered(folder: Path, pattern: str) -> list[int]:
    """The numbers in the names of ``folder`` that are like ``pattern``, in order."""
    try:
        matches = [re.fullmatch(pattern, entry.name) for entry in folder.iterdir()]
    except OSError:
        return []
    return sorted({int(match.group(1)) for match in matches if match})


def _text(path: Path | str, most: int = 4096) -> str:
    """What the first ``most`` bytes say; a file of sysfs has no more, one of /proc begins so."""
    # A sensor can vanish or be busy between two looks; then it is absent in this one.
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return ""
    try:
        return os.read(handle, most).decode(errors="replace").strip("\0 \n")
    except OSError:
        return ""
    finally:
        os.close(handle)


def _number(path: Path | str) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None
