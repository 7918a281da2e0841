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
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sound_server import SoundServer, missing
from voices import silence, voice

from edge_ser.errors import InputError
from edge_ser.runtime import devices, mic
from edge_ser.runtime.devices import Device, find_device
from edge_ser.runtime.live_source import BLOCK_MS, SourceGone

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


class FakeSound:
    """sounddevice with one device whose stream a test drives; errors are PortAudio's own words."""

    class PortAudioError(Exception):
        pass

    def __init__(self, refuses: str | None = None, blocks: int = 1) -> None:
        self.refuses, self.blocks = refuses, blocks
        self.closed = False
        self.rate = 48000

    def RawInputStream(self, **how: Any) -> FakeSound:  # noqa: N802
        self.callback, self.finished = how["callback"], how["finished_callback"]
        self.size = how["blocksize"]
        if self.refuses:
            raise self.PortAudioError(self.refuses)
        return self

    def start(self) -> None:
        for _ in range(self.blocks):
            self.give()

    def give(self, *, overflow: bool = False, level: float = 0.0) -> None:
        block = np.full((self.size, 1), level, np.float32)
        self.callback(block.data, self.size, None, SimpleNamespace(input_overflow=overflow))

    def check_input_settings(self, *_: Any, samplerate: int) -> None:
        if samplerate != self.rate:
            raise self.PortAudioError("Invalid sample rate [PaErrorCode -9997]")

    def abort(self, **_: Any) -> None:
        self.closed = True

    close = abort


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeSound]:
    def make(**how: Any) -> FakeSound:
        sd = FakeSound(**how)
        monkeypatch.setattr(mic, "sounddevice", lambda: sd)
        monkeypatch.setattr(mic, "devices", lambda: FOUND)
        monkeypatch.setattr(devices, "sounddevice", lambda: sd)
        return sd

    return make


def test_a_busy_device_and_one_that_refuses_its_rate_say_what_to_do(
    fake: Callable[..., FakeSound],
) -> None:
    fake(refuses="Error opening InputStream: Device unavailable [PaErrorCode -9985]")
    with pytest.raises(InputError, match="'USB Headset' is busy: another program holds it"):
        mic.Microphone(None, 16000)
    fake(refuses="Error opening InputStream: Invalid sample rate [PaErrorCode -9997]")
    with pytest.raises(InputError, match="refuses its own rate of 48000 Hz"):
        mic.Microphone(None, 16000)
    fake(refuses="Error opening InputStream: Unanticipated host error [PaErrorCode -9999]")
    with pytest.raises(InputError, match=r"cannot be opened .*; see: edge-ser mic list"):
        mic.Microphone(None, 16000)


def test_a_device_that_opens_and_gives_nothing_is_not_there(
    fake: Callable[..., FakeSound], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mic, "_FIRST_S", 0.01)
    sd = fake(blocks=0)
    with pytest.raises(InputError, match="no samples for 0.01 s; is it plugged in"):
        mic.Microphone(None, 16000)
    assert sd.closed


def test_a_device_that_stops_or_falls_silent_is_gone(
    fake: Callable[..., FakeSound], monkeypatch: pytest.MonkeyPatch
) -> None:
    sd = fake()
    with mic.Microphone(None, 16000) as microphone:
        assert len(microphone.read().samples)
        sd.finished()
        with pytest.raises(SourceGone, match="the device stopped"):
            microphone.read()
    monkeypatch.setattr(mic, "_SILENT_S", 0.01)
    fake()
    with mic.Microphone(None, 16000) as microphone:
        microphone.read()
        with pytest.raises(SourceGone, match="no samples for 0.01 s"):
            microphone.read()


def test_what_is_lost_is_counted_and_no_sample_comes_twice(fake: Callable[..., FakeSound]) -> None:
    sd = fake(blocks=mic._MOST_BLOCKS + 30)
    with mic.Microphone(None, 16000) as microphone:
        heard = [microphone.read()]
        while not microphone._blocks.empty():
            heard.append(microphone.read())
        # One block is taken when it opens; 29 or 30 of the others found the queue full.
        given = sum(len(h.samples) for h in heard)
        lost = sum(h.lost for h in heard)
        assert microphone.n_overflows == 1
        block = 16 * BLOCK_MS
        assert lost == 30 * block
        assert given == pytest.approx(mic._MOST_BLOCKS * block, abs=block)
        assert all(h.captured_ns > 0 for h in heard)
        sd.give(overflow=True)
        assert microphone.read().lost >= 0
        assert microphone.n_overflows == 2


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


def test_list_and_test(sound: SoundServer) -> None:
    listed = subprocess.run(command(sound, "mic", "list", "--json"), env=sound.env,
                            capture_output=True, text=True, check=True)  # fmt: skip
    names = [row["name"] for row in json.loads(listed.stdout)["microphones"]]
    assert "virtmic" in names
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000 * 120) / 16000)
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
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            for number in range(after, len(self.events)):
                if condition(self.events[number]):
                    return number
            assert self._process.poll() is None, "the process ended"
            time.sleep(0.05)
        raise AssertionError(f"waited in vain; heard {[e['type'] for e in self.events]}")


def test_run_mic_hears_survives_unplugging_and_goes_on(sound: SoundServer, pack_path: Path) -> None:
    talk = np.concatenate([silence(0.5), voice(2.0), silence(1.5)] * 30)
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
        assert process.wait(60) == 0, "stopped, it ends in good order"
        if player is not None:
            player.kill()
            player.wait()
