"""Samples in the audio messages of ROS 2, of whichever package they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.errors import InputError

__all__ = ["samples_of"]

_LISTS = (
    ("float32_data", np.float32, 1.0),
    ("int32_data", np.int32, 2.0**-31),
    ("int16_data", np.int16, 2.0**-15),
    ("int8_data", np.int8, 2.0**-7),
)


def samples_of(message: Any) -> tuple[NDArray[np.float32], int | None]:
    """``(samples, rate_hz)`` of an audio message.

    Knows ``AudioData`` and ``AudioDataStamped`` of ros-drivers (raw bytes, taken as s16le
    mono; the rate stands in another topic, so it is None) and ``AudioData``, ``Audio`` and
    ``AudioStamped`` of mgonzs13 (typed lists, interleaved channels). Told apart by their
    fields: both packages have the same name.

    Returns:
        ``(n,) float32`` mono in -1..1.

    Raises:
        InputError: it is neither, or its numbers make no sense.
    """
    if hasattr(message, "audio"):
        return samples_of(message.audio)
    if hasattr(message, "audio_data"):
        samples, _ = samples_of(message.audio_data)
        channels, rate_hz = int(message.info.channels), int(message.info.rate)
        if channels < 1 or rate_hz < 1000 or len(samples) % channels:
            raise InputError(
                f"ROS audio message with {len(samples)} values for {channels} channels "
                f"at {rate_hz} Hz makes no sense"
            )
        return samples.reshape(-1, channels).mean(axis=1, dtype=np.float32), rate_hz
    if hasattr(message, "float32_data"):
        for name, dtype, scale in _LISTS:
            values = getattr(message, name)
            if len(values):
                return np.asarray(values, dtype).astype(np.float32) * np.float32(scale), None
        unsigned = np.asarray(message.uint8_data, np.uint8).astype(np.float32)
        return (unsigned - 128.0) / np.float32(128.0), None
    if hasattr(message, "data"):
        raw = bytes(message.data)
        if len(raw) % 2:
            raise InputError(
                f"ROS audio message of {len(raw)} bytes is no s16le; is the topic compressed? "
                "Set format:=wave of audio_capture"
            )
        return np.frombuffer(raw, "<i2").astype(np.float32) * np.float32(2.0**-15), None
    raise InputError(
        f"ROS message {type(message).__name__} is of neither audio_common_msgs package "
        "(ros-drivers or mgonzs13)"
    )
