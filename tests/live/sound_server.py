"""A real PulseAudio server of its own, with a microphone that can be unplugged."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

NEEDED = "pulseaudio, pactl, pacat and ALSA's pulse plugin (tests/apt-packages.txt)"


def missing() -> str | None:
    """Why no server can be started here, None when it can."""
    for program in ("pulseaudio", "pactl", "pacat"):
        if shutil.which(program) is None:
            return f"{program} is not installed: needs {NEEDED}"
    if not list(Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so")):
        return f"libasound2-plugins is not installed: needs {NEEDED}"
    return None


class SoundServer:
    """PulseAudio in a folder of its own; what plays to the sink is what the microphone hears.

    PortAudio, as Linux has it, knows ALSA only: its ``pulse`` plugin makes a PCM named
    ``virtmic`` out of the monitor of a null sink. Without ``norewinds`` a null sink that nobody
    plays to gives two seconds at once every two seconds, and keeps to that after somebody does.
    """

    name = "virtmic"

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pa"))  # short: socket paths are limited
        socket = self.folder / "native"
        (self.folder / ".asoundrc").write_text(
            'pcm.virtmic { type pulse device "virtmic.monitor" hint { show on } }\n'
        )
        self.env = {
            **os.environ,
            "HOME": str(self.folder),
            "PULSE_RUNTIME_PATH": str(self.folder),
            "PULSE_STATE_PATH": str(self.folder),
            "PULSE_SERVER": f"unix:{socket}",
        }
        self._log = (self.folder / "log").open("w")
        self._daemon = subprocess.Popen(
            ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no",
             "--high-priority=yes", "-L", f"module-native-protocol-unix socket={socket}"],
            env=self.env, stdout=self._log, stderr=self._log,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while subprocess.run(
            ["pactl", "info"], env=self.env, capture_output=True, timeout=60
        ).returncode:
            if time.monotonic() > deadline or self._daemon.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.1)
        self.plug()

    def plug(self) -> None:
        """The microphone is there."""
        self._pactl("load-module", "module-null-sink", "sink_name=virtmic", "rate=48000", "norewinds=1",
                    "channels=1")  # fmt: skip

    def unplug(self) -> None:
        """The microphone is gone."""
        self._pactl("unload-module", "module-null-sink")

    def play(self, pcm: bytes) -> subprocess.Popen[bytes]:
        """Play s16le mono 16 kHz into the microphone, in the background."""
        path = self.folder / "play.raw"
        path.write_bytes(pcm)
        return subprocess.Popen(
            ["pacat", "--playback", "--device=virtmic", "--rate=16000", "--channels=1",
             "--format=s16le", "--latency-msec=40", str(path)],
            env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def _pactl(self, *words: str) -> None:
        subprocess.run(["pactl", *words], env=self.env, check=True, capture_output=True,
                       timeout=60)  # fmt: skip

    def close(self) -> None:
        """Stop the server and forget everything."""
        self._daemon.terminate()
        try:
            self._daemon.wait(10)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait()
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
