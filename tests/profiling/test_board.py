from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from edge_ser.errors import UsageError
from edge_ser.runtime.board import Board, BoardCondition, BoardSampler
from edge_ser.runtime.board.reader import from_jtop


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


ORIN = {
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "48125",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal",
    "sys/class/thermal/thermal_zone1/temp": "47000",
    "sys/class/thermal/thermal_zone2/type": "cv0-thermal",
    "sys/class/thermal/thermal_zone2/temp": "-256000",
    "sys/class/hwmon/hwmon1/name": "ina3221",
    "sys/class/hwmon/hwmon1/in1_label": "VDD_IN",
    "sys/class/hwmon/hwmon1/in1_input": "5000",
    "sys/class/hwmon/hwmon1/curr1_input": "1200",
    "sys/class/hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV",
    "sys/class/hwmon/hwmon1/in2_input": "4960",
    "sys/class/hwmon/hwmon1/curr2_input": "250",
    "sys/class/hwmon/hwmon1/in7_label": "sum of shunt voltages",
    "sys/class/hwmon/hwmon1/in7_input": "3",
    "sys/class/hwmon/hwmon1/curr7_input": "1",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1510400",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil",
    "sys/devices/system/cpu/cpu10/cpufreq/scaling_cur_freq": "729600",
    "sys/devices/system/cpu/cpu10/cpufreq/scaling_governor": "schedutil",
    "sys/class/devfreq/17000000.gpu/cur_freq": "306000000",
    "var/lib/nvpmodel/status": "pmode:0001",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\nCPU 1\n< POWER_MODEL ID=1 NAME=7W >",
    "proc/meminfo": "MemTotal: 8000000 kB\nMemFree: 1 kB\nMemAvailable: 5000000 kB",
}


def test_a_jetson_is_read_from_sysfs(tmp_path: Path):
    condition = Board(write(tmp_path, ORIN)).read()
    assert condition.source == "sysfs"
    assert condition.temperatures_c == {"cpu-thermal": 48.125, "gpu-thermal": 47.0}
    assert condition.power_w == {"VDD_IN": 6.0, "VDD_CPU_GPU_CV": 1.24}
    assert condition.clocks_mhz == {"cpu0": 1510.4, "cpu10": 729.6, "gpu": 306.0}
    assert condition.governors == ("schedutil",)
    assert condition.power_mode == "7W"
    assert condition.memory_used_mb == 3072.0
    assert condition.memory_total_mb == 8192.0


def test_jetpack_4_shows_rails_as_an_iio_device(tmp_path: Path):
    device = "sys/bus/i2c/drivers/ina3221x/7-0040/iio:device0"
    files = {f"{device}/rail_name_0": "5V_IN", f"{device}/in_power0_input": "2310"}
    assert Board(write(tmp_path, files)).read().power_w == {"5V_IN": 2.31}


def test_other_boards_give_power_and_two_sensors_of_one_name(tmp_path: Path):
    files = {
        "sys/class/hwmon/hwmon2/name": "nct",
        "sys/class/hwmon/hwmon2/temp1_input": "40000",
        "sys/class/hwmon/hwmon2/temp1_label": "core",
        "sys/class/hwmon/hwmon10/name": "nct",
        "sys/class/hwmon/hwmon10/temp1_input": "50000",
        "sys/class/hwmon/hwmon10/temp1_label": "core",
        "sys/class/hwmon/hwmon10/power1_average": "12500000",
    }
    condition = Board(write(tmp_path, files)).read()
    assert condition.temperatures_c == {"core": 40.0, "core #2": 50.0}
    assert condition.power_w == {"nct 1": 12.5}


def test_what_is_absent_is_absent_and_not_zero(tmp_path: Path):
    condition = Board(tmp_path).read()
    assert condition.to_dict() == {"source": "sysfs"}
    assert condition.counters() == {}


def test_a_sensor_that_says_nonsense_is_absent(tmp_path: Path):
    files = {
        "sys/class/thermal/thermal_zone0/type": "broken",
        "sys/class/thermal/thermal_zone0/temp": "n/a",
        "sys/class/hwmon/hwmon0/name": "ina3221",
        "sys/class/hwmon/hwmon0/curr1_input": "100",
        "var/lib/nvpmodel/status": "pmode:0009",
    }
    condition = Board(write(tmp_path, files)).read()
    assert condition.to_dict() == {"source": "sysfs", "power_mode": "mode 9"}


def test_jtop_gives_milliwatts_and_marks_sensors_that_are_off():
    stats = {
        "Temp cpu": 45.5, "Temp cv0": -256, "Power VDD_IN": 5210, "Power TOT": 5210,
        "nvp model": "MAXN", "RAM": 0.4, "jetson_clocks": "OFF", "time": object(),
    }  # fmt: skip
    condition = from_jtop(stats)
    assert condition.temperatures_c == {"cpu": 45.5}
    assert condition.power_w == {"VDD_IN": 5.21, "TOT": 5.21}
    assert condition.power_mode == "MAXN"
    assert condition.source == "jtop"


def test_jtop_that_cannot_be_asked_gives_way_to_sysfs(tmp_path: Path, caplog):
    write(tmp_path, {"run/jtop.sock": "", **ORIN})
    assert Board(tmp_path).read().source == "sysfs"
    assert "jtop" in caplog.text


def test_the_sampler_looks_at_once_again_and_at_the_end(tmp_path: Path):
    seen: list[tuple[int, BoardCondition]] = []
    twice = threading.Event()

    def sink(t_ns: int, condition: BoardCondition) -> None:
        seen.append((t_ns, condition))
        if len(seen) == 2:
            twice.set()

    with BoardSampler(Board(write(tmp_path, ORIN)), sink, period_s=0.01):
        assert twice.wait(30)
    assert len(seen) >= 3
    assert [t for t, _ in seen] == sorted(t for t, _ in seen)
    assert seen[-1][1].power_w["VDD_IN"] == 6.0


def test_a_sink_that_raises_is_told_of_once(tmp_path: Path, caplog):
    calls = []

    def sink(t_ns: int, condition: BoardCondition) -> None:
        calls.append(t_ns)
        raise RuntimeError("no")

    with caplog.at_level(logging.ERROR), BoardSampler(Board(tmp_path), sink, period_s=0.001):
        pass
    assert len(calls) == 1
    assert caplog.text.count("watching the board ended") == 1


def test_a_period_must_be_positive(tmp_path: Path):
    with pytest.raises(UsageError, match="period"):
        BoardSampler(Board(tmp_path), lambda t, c: None, period_s=0)
