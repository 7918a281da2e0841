from __future__ import annotations

import logging
import sys
import threading
import types
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


class Jtop:
    """Stands for ``jtop.jtop`` as its documentation has it: a lost connection shows in ``ok``."""

    made: list[Jtop]
    told: dict[str, object] = {}  # noqa: RUF012 - replaced by tests

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.lost: Exception | None = None
        self.running = True
        self.made.append(self)

    def start(self) -> None:
        self.calls.append("start")

    def ok(self, spin: bool = False) -> bool:
        assert spin, "it would wait for the next reading"
        if self.lost is not None:
            raise self.lost
        return self.running

    @property
    def stats(self) -> dict[str, object]:
        return self.told

    def close(self) -> None:
        self.calls.append("close")
        raise RuntimeError("the thread that reads was never there")


@pytest.fixture
def jtop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Jtop]:
    write(tmp_path, {"run/jtop.sock": "", **ORIN})
    module = types.ModuleType("jtop")
    Jtop.made = []
    Jtop.told = {"Temp cpu": 51.5, "Temp cv0": -256, "Power VDD_IN": 5210, "nvp model": "MAXN"}
    monkeypatch.setattr(module, "jtop", Jtop, raising=False)
    monkeypatch.setitem(sys.modules, "jtop", module)
    return Jtop


def test_with_jtop_nothing_is_missing_that_sysfs_knows(jtop: type[Jtop], tmp_path: Path):
    plain = Board(tmp_path, jtop=False).read()
    with Board(tmp_path) as board:
        condition = board.read()
    assert condition.source == "jtop"
    assert condition.temperatures_c == {"cpu": 51.5}
    assert condition.power_w == {"VDD_IN": 5.21}
    assert condition.power_mode == "MAXN"
    assert condition.clocks_mhz == plain.clocks_mhz != {}
    assert condition.governors == plain.governors != ()
    assert condition.memory_used_mb == plain.memory_used_mb == 3072.0
    assert condition.counters().keys() == plain.counters().keys()
    assert condition.to_dict().keys() == plain.to_dict().keys()
    assert jtop.made[0].calls == ["start", "close"]


def test_what_jtop_does_not_tell_comes_from_sysfs(jtop: type[Jtop], tmp_path: Path):
    jtop.told = {"RAM": 0.4, "time": object()}
    with Board(tmp_path) as board:
        condition = board.read()
    assert condition.temperatures_c["cpu-thermal"] == 48.125
    assert condition.power_w["VDD_IN"] == 6.0
    assert condition.power_mode == "7W"


@pytest.mark.parametrize("lost", [ConnectionResetError("the service was stopped"), None])
def test_jtop_that_is_lost_gives_way_to_sysfs_and_is_told_of_once(
    jtop: type[Jtop], tmp_path: Path, caplog, lost
):
    with Board(tmp_path) as board:
        assert board.read().source == "jtop"
        jtop.made[0].lost, jtop.made[0].running = lost, False
        conditions = [board.read(), board.read()]
    assert [condition.source for condition in conditions] == ["sysfs", "sysfs"]
    assert conditions[0].temperatures_c["cpu-thermal"] == 48.125
    assert caplog.text.count("jtop's service is lost") == 1
    assert jtop.made[0].calls == ["start", "close"]


def test_the_sampler_outlives_jtop(jtop: type[Jtop], tmp_path: Path):
    sources: list[str] = []
    fell_back = threading.Event()

    def sink(t_ns: int, condition: BoardCondition) -> None:
        sources.append(condition.source)
        jtop.made[0].lost = ConnectionResetError("the service was stopped")
        if condition.source == "sysfs":
            fell_back.set()

    with Board(tmp_path) as board, BoardSampler(board, sink, period_s=0.01):
        assert fell_back.wait(30)
    assert sources[:2] == ["jtop", "sysfs"]


def test_who_looks_at_the_board_lets_jtop_go(
    jtop: type[Jtop], tmp_path: Path, pack_path: Path, voice_wav: Path, monkeypatch
):
    from edge_ser.cli import main
    from edge_ser.runtime.bench.run import BenchSettings, bench

    real = Board.__init__
    monkeypatch.setattr(Board, "__init__", lambda board: real(board, tmp_path))
    settings = BenchSettings(pack_path, audio=voice_wav, seconds=1, warmup_steps=0, processes=0)
    board = bench(settings).document["board"]
    assert board["after"]["source"] == "jtop"
    trace = tmp_path / "trace.json"
    assert main(["run", str(voice_wav), "--pack", str(pack_path), "--trace", str(trace)]) == 0
    assert [made.calls for made in jtop.made] == [["start", "close"]] * 2


def test_sensors_are_found_once_and_told_each_time(tmp_path: Path):
    board = Board(write(tmp_path, ORIN))
    first = board.read()
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    write(tmp_path, {"sys/class/thermal/thermal_zone0/temp": "50000"})
    (tmp_path / "sys/class/hwmon/hwmon1/curr2_input").unlink()
    (tmp_path / "sys/devices/system/cpu/cpu10/cpufreq/scaling_cur_freq").unlink()
    second = board.read()
    assert second.temperatures_c == {**first.temperatures_c, "cpu-thermal": 50.0}
    assert second.power_w == {"VDD_IN": 6.0}
    assert second.clocks_mhz.keys() == {"cpu0", "gpu"}
    (zone / "type").unlink()
    assert board.read().temperatures_c == second.temperatures_c


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


def test_all_sinks_hear_of_one_look(tmp_path: Path):
    heard: list[list[tuple[int, BoardCondition]]] = [[], []]
    board = Counted(write(tmp_path, ORIN))
    sinks = [lambda t, c, log=log: log.append((t, c)) for log in heard]
    with BoardSampler(board, *sinks, period_s=60):
        pass
    assert heard[0] == heard[1]
    assert board.looks == len(heard[0]) == 2  # at once, and at the end


class Counted(Board):
    """A board that knows how often it was read."""

    looks = 0

    def read(self) -> BoardCondition:
        self.looks += 1
        return super().read()


def test_a_sink_that_raises_is_told_of_once_and_the_others_go_on(tmp_path: Path, caplog):
    calls: list[int] = []
    others: list[int] = []
    thrice = threading.Event()

    def sink(t_ns: int, condition: BoardCondition) -> None:
        calls.append(t_ns)
        raise RuntimeError("no")

    def other(t_ns: int, condition: BoardCondition) -> None:
        others.append(t_ns)
        if len(others) == 3:
            thrice.set()

    with (
        caplog.at_level(logging.ERROR),
        BoardSampler(Board(tmp_path), sink, other, period_s=0.001),
    ):
        assert thrice.wait(30)
    assert len(calls) == 1
    assert caplog.text.count("watching the board ended") == 1


def test_without_a_sink_left_nothing_is_read(tmp_path: Path, caplog):
    board = Counted(tmp_path)
    with BoardSampler(board, lambda t, c: 1 / 0, period_s=0.001):
        pass
    assert board.looks == 1


def test_one_sampler_serves_all_that_a_run_asks_for(
    tmp_path: Path, pack_path, voice_wav, monkeypatch
):
    pytest.importorskip("prometheus_client", reason="needs the profile extra")
    from edge_ser.cli import main

    samplers = []

    class Kept(BoardSampler):
        def __init__(self, board, *sinks) -> None:
            samplers.append(len(sinks))
            super().__init__(board, *sinks)

    monkeypatch.setattr("edge_ser.runtime.board.BoardSampler", Kept)
    flags = ["--trace", str(tmp_path / "trace.json"), "--metrics-port", "0"]
    assert main(["run", str(voice_wav), "--pack", str(pack_path), *flags]) == 0
    assert samplers == [2]


def test_a_period_must_be_positive(tmp_path: Path):
    with pytest.raises(UsageError, match="period"):
        BoardSampler(Board(tmp_path), lambda t, c: None, period_s=0)
