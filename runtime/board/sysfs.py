"""Sensors as files: thermal zones, hwmon (INA3221 on Jetson), cpufreq, devfreq.

Names and units are those of the kernel's documentation: hwmon in millidegrees, millivolts,
milliamperes and microwatts (``Documentation/hwmon/sysfs-interface.rst``), thermal zones in
millidegrees, cpufreq in kHz, devfreq in Hz.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["clocks_mhz", "governors", "memory_mb", "power_mode", "power_w", "temperatures_c"]

_COLDEST_C, _HOTTEST_C = -60.0, 200.0  # a switched-off zone reports nonsense, e.g. -256 or -274
_SUM_RAIL = re.compile(r"^sum of shunt", re.IGNORECASE)


def temperatures_c(root: Path) -> dict[str, float]:
    """Degrees Celsius of every thermal zone and hwmon sensor under ``root``."""
    found: dict[str, float] = {}
    for zone in _folders(root / "sys/class/thermal", "thermal_zone"):
        _add_temperature(found, _text(zone / "type") or zone.name, _number(zone / "temp"))
    for chip in _folders(root / "sys/class/hwmon", "hwmon"):
        chip_name = _text(chip / "name") or chip.name
        for sensor in _numbered(chip, r"temp(\d+)_input"):
            label = _text(chip / f"temp{sensor}_label") or f"{chip_name} {sensor}"
            _add_temperature(found, label, _number(chip / f"temp{sensor}_input"))
    return found


def power_w(root: Path) -> dict[str, float]:
    """Watts of every rail that is measured under ``root``.

    A chip gives power itself (``power1_input``, microwatts) or voltage and current of each
    rail, as the INA3221 of Jetson boards does.
    """
    found: dict[str, float] = {}
    for chip in _folders(root / "sys/class/hwmon", "hwmon"):
        chip_name = _text(chip / "name") or chip.name
        for rail in _numbered(chip, r"power(\d+)_(?:input|average)"):
            microwatts = _number(chip / f"power{rail}_input")
            if microwatts is None:
                microwatts = _number(chip / f"power{rail}_average")
            label = _text(chip / f"power{rail}_label") or f"{chip_name} {rail}"
            if microwatts is not None:
                _add(found, label, microwatts / 1e6)
        for rail in _numbered(chip, r"curr(\d+)_input"):
            milliamperes = _number(chip / f"curr{rail}_input")
            millivolts = _number(chip / f"in{rail}_input")
            label = _text(chip / f"in{rail}_label") or f"{chip_name} {rail}"
            if milliamperes is not None and millivolts is not None and not _SUM_RAIL.match(label):
                _add(found, label, milliamperes * millivolts / 1e6)
    # JetPack 4 shows the same chip as an iio device with milliwatts.
    for device in sorted((root / "sys/bus/i2c/drivers/ina3221x").glob("*/iio:device*")):
        for rail in _numbered(device, r"in_power(\d+)_input"):
            milliwatts = _number(device / f"in_power{rail}_input")
            label = _text(device / f"rail_name_{rail}") or f"rail {rail}"
            if milliwatts is not None:
                _add(found, label, milliwatts / 1e3)
    return found


def clocks_mhz(root: Path) -> dict[str, float]:
    """Present clock of every processor core, and of devices such as the GPU."""
    found: dict[str, float] = {}
    cores = root / "sys/devices/system/cpu"
    for core in _numbered(cores, r"cpu(\d+)"):
        khz = _number(cores / f"cpu{core}" / "cpufreq" / "scaling_cur_freq")
        if khz is not None:
            found[f"cpu{core}"] = khz / 1e3
    for device in _folders(root / "sys/class/devfreq", ""):
        hertz = _number(device / "cur_freq")
        if hertz is not None:
            found[_device_name(device.name)] = hertz / 1e6
    return found


def governors(root: Path) -> tuple[str, ...]:
    """The clock governors in use, each once, sorted."""
    cores = root / "sys/devices/system/cpu"
    names = {
        _text(cores / f"cpu{core}" / "cpufreq" / "scaling_governor")
        for core in _numbered(cores, r"cpu(\d+)")
    }
    return tuple(sorted(name for name in names if name))


def power_mode(root: Path) -> str | None:
    """Name of Jetson's power mode, from nvpmodel's state and its table; None elsewhere."""
    match = re.search(r"pmode:(\d+)", _text(root / "var/lib/nvpmodel/status"))
    if match is None:
        return None
    number = int(match.group(1))
    table = _text(root / "etc/nvpmodel.conf")
    for entry in re.findall(r"<\s*POWER_MODEL\s+([^>]*)>", table):
        pairs = dict(re.findall(r"(\w+)=(\S+)", entry))
        if pairs.get("ID") == str(number) and "NAME" in pairs:
            return str(pairs["NAME"])
    return f"mode {number}"


def memory_mb(root: Path) -> tuple[float | None, float | None]:
    """Memory in use and in total in MB, each None where the system does not say."""
    kib = {
        key: int(value)
        for key, value in re.findall(r"^(\w+):\s+(\d+) kB", _text(root / "proc/meminfo"), re.M)
    }
    total, available = kib.get("MemTotal"), kib.get("MemAvailable")
    used = None if total is None or available is None else (total - available) * 1024 / 1e6
    return (
        None if used is None else round(used, 1),
        None if total is None else round(total * 1024 / 1e6, 1),
    )


def _add_temperature(found: dict[str, float], label: str, millidegrees: float | None) -> None:
    if millidegrees is not None and _COLDEST_C < millidegrees / 1e3 < _HOTTEST_C:
        _add(found, label, millidegrees / 1e3)


def _add(found: dict[str, float], label: str, value: float) -> None:
    """Two sensors of one name are kept apart by a number."""
    name, turn = label, 2
    while name in found:
        name, turn = f"{label} #{turn}", turn + 1
    found[name] = value


def _device_name(name: str) -> str:
    """``17000000.gpu`` is ``gpu``."""
    return name.rpartition(".")[2]


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


def _text(path: Path) -> str:
    # A sensor can vanish or be busy between two looks; then it is absent in this one.
    try:
        return path.read_text(errors="replace").strip("\0 \n")
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None
