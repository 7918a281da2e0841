"""A microphone that may overflow, vanish and come back."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.audio import StreamResampler, mix_to_mono
from edge_ser.errors import EdgeSerError, InputError, MissingExtra

__all__ = ["Device", "Heard", "Microphone", "SourceGone", "backoff", "devices", "find_device"]

_MOST_BLOCKS = 200
_FIRST_S = 2.5  # sound servers take their time to start a stream
_SILENT_S = 1.0  # a device that gives nothing for so long is gone, whatever it says


class SourceGone(EdgeSerError):
    """The device stopped giving samples."""


@dataclass(frozen=True)
class Device:
    """An input device.

    Attributes:
        index: PortAudio's number now; it moves when something is plugged.
        name: as the system calls it.
        host: audio system that offers it, ``ALSA``, ``PulseAudio``.
        rate_hz: native rate.
        channels: inputs.
        usb_id: ``vendor:product``, None when it is no USB sound card or is not known.
        default: whether it is taken when none is named.
    """

    index: int
    name: str
    host: str
    rate_hz: int
    channels: int
    usb_id: str | None
    default: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "index": self.index,
            "name": self.name,
            "host": self.host,
            "rate_hz": self.rate_hz,
            "channels": self.channels,
            "usb_id": self.usb_id,
            "default": self.default,
        }


@dataclass(frozen=True)
class Heard:
    """What one read gave.

    Attributes:
        samples: ``(n,) float32`` mono at the rate asked for, may be empty.
        lost: samples that were lost before these, estimated by the clock.
        captured_ns: ``time.perf_counter_ns`` when the last of them was in the buffer.
    """

    samples: NDArray[np.float32]
    lost: int
    captured_ns: int


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise MissingExtra("sounddevice", "audio", "listen to a microphone") from None
    except OSError as error:
        raise InputError(
            f"the microphone needs the PortAudio library, which cannot be loaded ({error}); "
            "install it with: apt install libportaudio2"
        ) from error
    return sounddevice


def devices(refresh: bool = True) -> list[Device]:
    """The input devices there are now.

    Args:
        refresh: let PortAudio look again; only while no stream of this process is open.

    Raises:
        MissingExtra: sounddevice is not installed.
        InputError: PortAudio cannot be loaded or fails.
    """
    sd = _sounddevice()
    try:
        if refresh:
            # PortAudio lists devices once, when it starts; there is no other way to look again.
            sd._terminate()
            sd._initialize()
        default = sd.default.device[0]
        if default < 0:
            default = next((h["default_input_device"] for h in sd.query_hostapis()), -1)
        return [
            Device(
                index=number,
                name=str(row["name"]),
                host=str(sd.query_hostapis(row["hostapi"])["name"]),
                rate_hz=round(row["default_samplerate"]),
                channels=int(row["max_input_channels"]),
                usb_id=_usb_id(str(row["name"])),
                default=number == default,
            )
            for number, row in enumerate(sd.query_devices())
            if row["max_input_channels"] > 0
        ]
    except sd.PortAudioError as error:
        raise InputError(f"PortAudio cannot list devices ({error})") from error


def _usb_id(name: str) -> str | None:
    """The ``vendor:product`` of the ALSA card behind ``... (hw:1,0)``."""
    card = re.search(r"\(hw:(\d+)", name)
    if not card:
        return None
    try:
        with open(f"/proc/asound/card{card[1]}/usbid") as file:
            return file.read().strip()
    except OSError:
        return None


def find_device(wanted: str | None, found: list[Device]) -> Device:
    """The device that ``wanted`` means.

    Args:
        wanted: a name, a part of one, ``vendor:product`` of a USB card, or None for the default.
        found: what there is.

    Raises:
        InputError: none fits, or several do; the message lists those there are.
    """
    names = "; ".join(f"{d.name!r}" + (f" ({d.usb_id})" if d.usb_id else "") for d in found)
    if not found:
        raise InputError("there is no microphone on this machine; plug one in and try again")
    if wanted is None:
        return next((d for d in found if d.default), found[0])
    exact = [d for d in found if wanted in (d.name, d.usb_id)]
    part = exact or [d for d in found if wanted.lower() in d.name.lower()]
    if not part:
        raise InputError(f"no microphone {wanted!r}; there are: {names}")
    if len(part) > 1 and not exact:
        raise InputError(
            f"{wanted!r} fits {len(part)} microphones: "
            f"{'; '.join(repr(d.name) for d in part)}; write more of the name"
        )
    return part[0]


class Microphone:
    """An open device: every block as the system gives it, resampled as a stream.

    PortAudio's own thread puts blocks into a bounded queue; :meth:`read` sleeps until one is
    there. When the reader is too slow whole blocks are dropped and counted, never delayed.

    Args:
        wanted: as in :func:`find_device`.
        rate_hz: rate of the samples that :meth:`read` gives.

    Raises:
        InputError: no such device, it is busy or refuses; the message says what to do.
        MissingExtra: the ``audio`` extra is not installed.
    """

    def __init__(self, wanted: str | None, rate_hz: int) -> None:
        sd = _sounddevice()
        self.device = device = find_device(wanted, devices())
        self.rate_hz = rate_hz
        self.n_overflows = 0
        self._resampler = StreamResampler(device.rate_hz, rate_hz)
        self._blocks: SimpleQueue[tuple[NDArray[np.float32], int]] = SimpleQueue()
        self._lost_frames = 0  # of the device, not told yet
        self._last_ns = 0
        self._heard_any = False
        self._error = sd.PortAudioError
        try:
            self._stream = sd.InputStream(
                device=device.index,
                samplerate=device.rate_hz,
                channels=min(device.channels, 2),
                dtype="float32",
                blocksize=0,
                latency="low",
                callback=self._arrived,
            )
            self._stream.start()
        except sd.PortAudioError as error:
            raise InputError(_why(device, str(error))) from error

    @property
    def name(self) -> str:
        """Name of the device."""
        return self.device.name

    def _arrived(self, block: NDArray[np.float32], frames: int, _: Any, status: Any) -> None:
        """Runs in PortAudio's thread: copy, stamp, leave."""
        now = time.perf_counter_ns()
        if status.input_overflow and self._last_ns:
            # The system does not say how much was lost; the clock does.
            passed = (now - self._last_ns) * self.device.rate_hz // 1_000_000_000
            self._lost_frames += max(int(passed) - frames, 1)
        self._last_ns = now
        if self._blocks.qsize() >= _MOST_BLOCKS:
            self._lost_frames += frames
            return
        self._blocks.put((block.copy(), now))

    def read(self) -> Heard:
        """Wait for the next block.

        Raises:
            SourceGone: nothing came for so long that the device must be gone.
        """
        patience_s = _SILENT_S if self._heard_any else _FIRST_S
        try:
            block, captured_ns = self._blocks.get(timeout=patience_s)
        except Empty:
            raise SourceGone(f"{self.device.name}: no samples for {patience_s:g} s") from None
        self._heard_any = True
        lost, self._lost_frames = self._lost_frames, 0
        self.n_overflows += lost > 0
        return Heard(
            self._resampler.push(mix_to_mono(block)),
            lost * self.rate_hz // self.device.rate_hz,
            captured_ns,
        )

    def close(self) -> None:
        """Let the device go; never raises."""
        # Aborting a stream whose device is gone may hang inside the system's sound library.
        closer = threading.Thread(target=self._close, name="close-microphone", daemon=True)
        closer.start()
        closer.join(2.0)

    def _close(self) -> None:
        with contextlib.suppress(self._error):
            self._stream.abort(ignore_errors=True)
            self._stream.close(ignore_errors=True)

    def __enter__(self) -> Microphone:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _why(device: Device, error: str) -> str:
    where = f"microphone {device.name!r}"
    if "unavailable" in error.lower() or "busy" in error.lower():
        return f"{where} is busy: another program holds it; close that, or share it by PulseAudio"
    if "sample rate" in error.lower():
        return (
            f"{where} refuses its own rate of {device.rate_hz} Hz, another program may have set "
            "it; close that, or share it by PulseAudio"
        )
    return f"{where} cannot be opened ({error}); see: edge-ser mic list"


def backoff(first_s: float = 0.1, longest_s: float = 1.0) -> Iterator[float]:
    """Waits between attempts to open again: doubling, then level."""
    wait = first_s
    while True:
        yield wait
        wait = min(2 * wait, longest_s)
