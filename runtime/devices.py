"""The microphones of this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from edge_ser.errors import InputError, MissingExtra

__all__ = ["Device", "at_its_own_rate", "devices", "find_device", "sounddevice"]

_OWN_RATE_HZ = 48000


@dataclass(frozen=True)
class Device:
    """An input device.

    Attributes:
        index: PortAudio's number now; it moves when something is plugged.
        name: as the system calls it.
        host: audio system that offers it, ``ALSA``, ``PulseAudio``.
        rate_hz: native rate, as PortAudio has it.
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


def sounddevice() -> Any:
    """The sounddevice library.

    Raises:
        MissingExtra: it is not installed.
        InputError: PortAudio cannot be loaded.
    """
    try:
        import sounddevice as library
    except ImportError:
        raise MissingExtra("sounddevice", "audio", "listen to a microphone") from None
    except OSError as error:
        raise InputError(
            f"the microphone needs the PortAudio library, which cannot be loaded ({error}); "
            "install it with: apt install libportaudio2"
        ) from error
    return library


def devices(refresh: bool = True) -> list[Device]:
    """The input devices there are now.

    Args:
        refresh: let PortAudio look again; only while no stream of this process is open.

    Raises:
        MissingExtra: sounddevice is not installed.
        InputError: PortAudio cannot be loaded or fails.
    """
    sd = sounddevice()
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


def at_its_own_rate(device: Device) -> Device:
    """``device`` with the rate at which it is opened.

    PortAudio says 44100 Hz of whatever takes that. Sound servers and most cards run at 48000
    and would resample; where that rate is taken it is their own.
    """
    sd = sounddevice()
    try:
        sd.check_input_settings(device.index, 1, "float32", samplerate=_OWN_RATE_HZ)
    except sd.PortAudioError:
        return device  # it is busy or gone, or has no such rate
    return replace(device, rate_hz=_OWN_RATE_HZ)


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
