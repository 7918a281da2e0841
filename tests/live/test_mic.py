"""The microphone against a real sound server, in processes of its own.

PortAudio and ALSA read their configuration once per process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sound_server import SoundServer, missing
from voices import silence, voice

from edge_ser.errors import InputError
from edge_ser.runtime.devices import Device, find_device

ROOT = Path(__file__).parents[2]


def device(index: int, name: str, usb: str | None = None, default: bool = False) -> Device:
    return Device(index, name, "ALSA", 48000, 1, usb, default)


FOUND = [
    device(0, "USB Audio: Mic (hw:1,0)", "0d8c:0014"),
    device(3, "USB Headset", "046d:0a44", True),
]


def test_a_device_is_found_by_name_part_and_usb_id() -> None:
    assert find_device(None, FOUND).index == 3
    assert find_device("headset", FOUND).index == 3
    assert find_device("0d8c:0014", FOUND).index == 0


def test_a_name_that_fits_nothing_or_too_much_lists_what_there_is() -> None:
    with pytest.raises(InputError, match="no microphone 'Blue'; there are: 'USB Audio: Mic"):
        find_device("Blue", FOUND)
    with pytest.raises(InputError, match="fits 2 microphones"):
        find_device("usb", FOUND)
    with pytest.raises(InputError, match="there is no microphone"):
        find_device(None, [])


@pytest.fixture(scope="module")
def sound() -> Iterator[SoundServer]:
    if (why := missing()) is not None:
        pytest.skip(why)
    server = SoundServer()
    yield server
    server.close()


def command(sound: SoundServer, *words: str) -> list[str]:
    sound.env["PYTHONPATH"] = str(ROOT)
    return [sys.executable, "-m", "edge_ser", *words]


@pytest.mark.system
def test_list_and_test(sound: SoundServer) -> None:
    listed = subprocess.run(command(sound, "mic", "list", "--json"), env=sound.env,
                            capture_output=True, text=True, check=True)  # fmt: skip
    names = [row["name"] for row in json.loads(listed.stdout)["microphones"]]
    assert "virtmic" in names
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000 * 20) / 16000)
    player = sound.play((tone * 32767).astype("<i2").tobytes())
    tested = subprocess.run(
        command(sound, "mic", "test", "virtmic", "--seconds", "4", "--json"),
        env=sound.env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    player.kill()
    player.wait()
    report = json.loads(tested.stdout)
    assert report["level_db"] == pytest.approx(-9, abs=3), "half of full scale is -9 dBFS"
    assert report["clipped_samples"] == 0


@pytest.mark.system
def test_a_wrong_name_lists_the_right_ones(sound: SoundServer) -> None:
    done = subprocess.run(command(sound, "mic", "test", "Nonesuch"), env=sound.env,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 2
    assert "no microphone 'Nonesuch'; there are:" in done.stderr
    assert "'virtmic'" in done.stderr


class Lines:
    """Events of a process, as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.events: list[dict[str, Any]] = []
        self._process = process
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.events.append(json.loads(line))

    def wait(self, condition: Callable[[dict[str, Any]], Any], after: int = 0) -> int:
        """Number of the first event from ``after`` on that fits."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for number in range(after, len(self.events)):
                if condition(self.events[number]):
                    return number
            assert self._process.poll() is None, "the process ended"
            time.sleep(0.05)
        raise AssertionError(f"waited in vain; heard {[e['type'] for e in self.events]}")


@pytest.mark.system
def test_run_mic_hears_survives_unplugging_and_goes_on(sound: SoundServer, pack_path: Path) -> None:
    talk = np.concatenate([silence(0.5), voice(2.0), silence(1.5)] * 10)
    pcm = (talk * 32767).astype("<i2").tobytes()
    process = subprocess.Popen(
        command(sound, "run", "mic:virtmic", "--pack", str(pack_path), "--jsonl"),
        env=sound.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    lines = Lines(process)
    player = None
    try:
        lines.wait(lambda e: e["type"] == "stream.started")
        player = sound.play(pcm)
        first = lines.wait(lambda e: e["type"] == "emotion" and e["final"])
        player.kill()
        player.wait()
        sound.unplug()
        lost = lines.wait(lambda e: e["type"] == "source.lost", first)
        sound.plug()
        back = lines.wait(lambda e: e["type"] == "source.restored", lost)
        player = sound.play(pcm)
        lines.wait(lambda e: e["type"] == "emotion", back)
        numbers = [event["seq"] for event in lines.events]
        assert numbers == list(range(1, len(numbers) + 1))
    finally:
        process.terminate()
        process.wait(20)
        if player is not None:
            player.kill()
            player.wait()
