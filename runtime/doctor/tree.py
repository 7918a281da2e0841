"""What the files of a system say about it, under any root: a running one or a recorded one."""

from __future__ import annotations

import json
import re
from pathlib import Path

from edge_ser.engines.host import l4t_release
from edge_ser.runtime.board import Board, BoardCondition

__all__ = ["RECORDED", "Tree", "jetpack_of"]

_JETPACKS = {
    "32.6": "4.6", "32.7": "4.6", "35.1": "5.0", "35.2": "5.1", "35.3": "5.1", "35.4": "5.1",
    "35.5": "5.1", "35.6": "5.1", "36.3": "6.0", "36.4.0": "6.1", "36.4.3": "6.2", "36.4.4": "6.2",
    "38.2": "7.0", "38.4": "7.1", "39.2": "7.2",
}  # fmt: skip
_LINES = {"32": "4", "35": "5", "36": "6", "38": "7", "39": "7"}

RECORDED = (
    "etc/os-release", "etc/nv_tegra_release", "etc/nvpmodel.conf", "proc/device-tree/model",
    "proc/cpuinfo", "proc/meminfo", "proc/asound/cards", "proc/asound/pcm",
    "proc/driver/nvidia/version", "proc/sys/kernel/osrelease", "sys/class/dmi/id/product_name",
    "sys/devices/platform/soc/soc:firmware/get_throttled", "usr/local/cuda/version.json",
    "usr/local/cuda/version.txt", "var/lib/nvpmodel/status",
)  # fmt: skip
"""Files that are read here and name nobody, for a support bundle."""


class Tree:
    """Facts from files below ``root``; what is not there is None or empty, never an error."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    @property
    def model(self) -> str | None:
        """Name of the board or computer."""
        return self._line("proc/device-tree/model") or self._line("sys/class/dmi/id/product_name")

    @property
    def system(self) -> str | None:
        """Name of the distribution."""
        found = re.search(r'^PRETTY_NAME="?([^"\n]*)', self._text("etc/os-release"), re.M)
        return found[1] if found else None

    @property
    def kernel(self) -> str | None:
        """Release of the kernel."""
        return self._line("proc/sys/kernel/osrelease")

    @property
    def l4t(self) -> str | None:
        """Release of Linux for Tegra; None if this is no Jetson."""
        return l4t_release(self.root / "etc/nv_tegra_release")

    @property
    def cuda(self) -> str | None:
        """Version of the CUDA toolkit in its usual place."""
        try:
            values = json.loads(self._text("usr/local/cuda/version.json"))
            return str(values["cuda"]["version"])
        except (ValueError, KeyError, TypeError, RecursionError):
            found = re.search(r"CUDA Version ([\d.]+)", self._text("usr/local/cuda/version.txt"))
            return found[1] if found else None

    @property
    def driver(self) -> str | None:
        """Version of NVIDIA's kernel driver; Jetson's has none of its own."""
        text = self._text("proc/driver/nvidia/version")
        found = re.search(r"Kernel Module(?: for \S+)?\s+([\d.]+)", text)
        return found[1] if found else None

    @property
    def tensorrt_library(self) -> str | None:
        """Version of the TensorRT library, by the name of its file."""
        for folder in ("usr/lib/aarch64-linux-gnu", "usr/lib/x86_64-linux-gnu"):
            names = [path.name for path in (self.root / folder).glob("libnvinfer.so.*.*.*")]
            if names:
                return max(names).partition(".so.")[2]
        return None

    @property
    def condition(self) -> BoardCondition:
        """Temperatures, clocks, power mode, memory."""
        with Board(self.root, jtop=self.root == Path("/")) as board:
            return board.read()

    @property
    def sound_cards(self) -> list[str]:
        """Names of the sound cards that ALSA has."""
        return re.findall(r"^\s*\d+ \[.*?\]: (.*)$", self._text("proc/asound/cards"), re.M)

    @property
    def n_captures(self) -> int:
        """Devices that can record."""
        return len(re.findall(r": capture \d+", self._text("proc/asound/pcm")))

    @property
    def throttled(self) -> int:
        """Raspberry Pi's bits: 1 under-voltage now, 4 throttled now, the same << 16 since boot."""
        text = self._line("sys/devices/platform/soc/soc:firmware/get_throttled") or "0"
        try:
            return int(text, 16)
        except ValueError:
            return 0

    @property
    def has_nvidia(self) -> bool:
        """Whether this is a Jetson or NVIDIA's driver is loaded."""
        return self.l4t is not None or self.driver is not None

    def _text(self, name: str) -> str:
        try:
            return (self.root / name).read_text(errors="replace")
        except OSError:
            return ""

    def _line(self, name: str) -> str | None:
        return self._text(name).strip("\0 \n") or None


def jetpack_of(l4t: str) -> str | None:
    """JetPack that brought this L4T, ``6.2`` or only ``6`` where the release is not known."""
    parts = l4t.split(".")
    for n in (3, 2):
        found = _JETPACKS.get(".".join(parts[:n]))
        if found is not None:
            return found
    return _LINES.get(parts[0])
