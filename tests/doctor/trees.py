"""Recorded boards: what their files and their running system say.

The layout of the files is that of the vendors' systems; models, releases and sensors are those of
real boards, values are made up where they only have to be plausible.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_ser.runtime.doctor import Answers, Tree

__all__ = ["BOARDS", "Board"]

GOOD_RUN = {
    "backend": "onnxruntime", "precision": "int8", "target": "cpu", "steps": 25, "agreement": 1.0,
    "worst": 0.0001, "p50_ms": 0.9, "p99_ms": 1.4, "agrees": True,
}  # fmt: skip
PACKAGES = {"edge-ser": "0.1.0", "numpy": "2.2.6", "onnxruntime": "1.23.2"}
PCM = "01-00: USB Audio : USB Audio : playback 1 : capture 1\n"
CARDS = (
    " 0 [Generic        ]: HDA-Intel - HD-Audio Generic\n"
    "                      HD-Audio Generic at 0x80880000 irq 54\n"
    " 1 [Device         ]: USB-Audio - USB PnP Sound Device\n"
    "                      C-Media USB PnP Sound Device at usb-1, full speed\n"
)


@dataclass(frozen=True)
class Board:
    """One board, to be written to disk."""

    files: dict[str, str]
    answers: Answers

    def tree(self, root: Path) -> Tree:
        for name, text in self.files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Tree(root)

    def but(self, files: dict[str, str] | None = None, **answers: Any) -> Board:
        return Board(self.files | (files or {}), replace(self.answers, **answers))


def answers(**facts: Any) -> Answers:
    usual: dict[str, Any] = {
        "arch": "aarch64",
        "python": "3.10.12",
        "groups": ("audio", "render", "video"),
        "packages": PACKAGES,
        "microphones": ({"rate_hz": 48000, "channels": 1, "usb_id": "0d8c:0014"},),
        "gpu": {"compute_capability": None, "gpu": None, "driver": None, "problem": "no driver"},
        "bindings": {"tensorrt": {"problem": "none"}, "tensorrt-rtx": {"problem": "none"}},
        "pack": {"name": "edge-six@1.0.0", "installed": True, "problem": None},
        "store": {"damaged": [], "on_trial": False, "free_mb": 20000.0, "problem": None},
        "engine_cache": {"free_mb": 20000.0, "writable": True, "problem": None},
        "golden": {"onnxruntime": {"problem": None, "runs": [GOOD_RUN]}},
    }
    return Answers(**{**usual, **facts})


ORIN_JP6 = Board(
    {
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n",
        "etc/os-release": 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\nID=ubuntu\n',
        "proc/sys/kernel/osrelease": "5.15.148-tegra\n",
        "usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "12.6.68"}}',
        "usr/lib/aarch64-linux-gnu/libnvinfer.so.10.3.0": "",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=25W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
        "var/lib/nvpmodel/status": "pmode:0002",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1728000",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
        "sys/class/thermal/thermal_zone0/temp": "51000",
        "proc/meminfo": "MemTotal: 7800000 kB\nMemAvailable: 5000000 kB\n",
        "proc/asound/cards": CARDS,
        "proc/asound/pcm": PCM,
    },
    answers(
        packages=PACKAGES | {"pycuda": "2026.1", "tensorrt": "10.3.0"},
        gpu={"compute_capability": "8.7", "gpu": "Orin", "driver": "12.6", "l4t": "36.4.3", "problem": None},
        bindings={"tensorrt": {"version": "10.3.0"}, "tensorrt-rtx": {"problem": "x86 only"}},
        engines=({"file": "edge-six-int8-tensorrt-1.engine", "backend": "tensorrt", "precision": "int8", "problem": None},),
        golden={
            "onnxruntime": {"problem": None, "runs": [GOOD_RUN]},
            "tensorrt": {"problem": None, "runs": [GOOD_RUN | {"backend": "tensorrt", "target": "tensorrt", "p50_ms": 0.4}]},
        },
    ),
)  # fmt: skip

XAVIER_JP5 = Board(
    {
        "proc/device-tree/model": "NVIDIA Jetson Xavier NX Developer Kit\0",
        "etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64, DATE: Tue Aug  1 19:57:35 UTC 2023\n",
        "etc/os-release": 'PRETTY_NAME="Ubuntu 20.04.6 LTS"\n',
        "proc/sys/kernel/osrelease": "5.10.120-tegra\n",
        "usr/local/cuda/version.json": '{"cuda": {"version": "11.4.315"}}',
        "usr/lib/aarch64-linux-gnu/libnvinfer.so.8.5.2": "",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MODE_15W_2CORE >\n< POWER_MODEL ID=8 NAME=MODE_20W_6CORE >\n",
        "var/lib/nvpmodel/status": "pmode:0000",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave",
        "sys/class/thermal/thermal_zone0/type": "CPU-therm",
        "sys/class/thermal/thermal_zone0/temp": "91500",
        "proc/meminfo": "MemTotal: 6800000 kB\nMemAvailable: 150000 kB\n",
        "proc/asound/cards": CARDS,
        "proc/asound/pcm": PCM,
    },
    answers(
        groups=("users",),
        microphones=(),
        gpu={"compute_capability": None, "problem": "no usable NVIDIA driver: cuInit says no device (CUDA 100)"},
        bindings={
            "tensorrt": {"problem": "no TensorRT for this Python 3.10 (/opt/edge-ser): JetPack installs it for the system Python only; create the environment with `python3 -m venv --system-site-packages`"},
            "tensorrt-rtx": {"problem": "x86 only"},
        },
        engine_cache={"free_mb": 120.0, "writable": False, "problem": None},
    ),
)  # fmt: skip

RASPBERRY_PI_5 = Board(
    {
        "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        "proc/sys/kernel/osrelease": "6.6.51+rpt-rpi-2712\n",
        "proc/cpuinfo": "processor : 0\nFeatures : fp asimd asimddp\n\nSerial\t\t: 10000000deadbeef\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2400000",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
        "sys/class/thermal/thermal_zone0/temp": "62050",
        "proc/meminfo": "MemTotal: 8100000 kB\nMemAvailable: 6900000 kB\n",
        "proc/asound/cards": CARDS,
        "proc/asound/pcm": PCM,
    },
    answers(python="3.11.2"),
)  # fmt: skip

RTX_KIOSK = Board(
    {
        "sys/class/dmi/id/product_name": "NUC13RNGi7\n",
        "etc/os-release": 'PRETTY_NAME="Ubuntu 24.04.2 LTS"\n',
        "proc/sys/kernel/osrelease": "6.8.0-60-generic\n",
        "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.133.07  Fri Mar 14 13:12:07 UTC 2025\n",
        "usr/local/cuda/version.json": '{"cuda": {"version": "12.8.1"}}',
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance",
        "proc/meminfo": "MemTotal: 32000000 kB\nMemAvailable: 20000000 kB\n",
        "proc/asound/cards": CARDS,
        "proc/asound/pcm": PCM,
    },
    answers(
        arch="x86_64",
        python="3.12.3",
        packages=PACKAGES | {"pycuda": "2026.1", "tensorrt-rtx-cu12": "1.7.1.116"},
        gpu={"compute_capability": "8.6", "gpu": "NVIDIA GeForce RTX 3060", "driver": "12.8", "problem": None},
        bindings={"tensorrt": {"problem": "no TensorRT for this Python 3.12"}, "tensorrt-rtx": {"version": "1.7.1.116"}},
        engines=({"file": "edge-six-fp16-tensorrt-rtx-1.engine", "backend": "tensorrt-rtx", "precision": "fp16",
                  "problem": "engine X was built with tensorrt-rtx 1.4.0, here is 1.7.1.116"},),
        golden={
            "onnxruntime": {"problem": None, "runs": [GOOD_RUN]},
            "tensorrt-rtx": {"problem": "no tensorrt-rtx engine of edge-six@1.0.0; build one first", "runs": []},
        },
    ),
)  # fmt: skip

BOARDS = {
    "jetson-orin-jp6": ORIN_JP6,
    "jetson-xavier-jp5": XAVIER_JP5,
    "raspberry-pi-5": RASPBERRY_PI_5,
    "rtx-kiosk": RTX_KIOSK,
}
