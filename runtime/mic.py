"""A microphone that may overflow, vanish and come back."""

from __future__ import annotations

import contextlib
import threading
import time
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from edge_ser.errors import InputError
from edge_ser.runtime.devices import Device, at_its_own_rate, devices, find_device, sounddevice
from edge_ser.runtime.live_source import BLOCK_MS, Heard, SourceGone
from edge_ser.runtime.resample import LiveResampler

__all__ = ["Microphone"]

_MOST_BLOCKS = 25  # two seconds; each wakes three threads of PortAudio and the sound server
_FIRST_S = 2.5  # sound servers take their time to start a stream
_SILENT_S = 1.0  # a device that gives nothing for so long is gone, whatever it says

_Block = tuple[bytes, int]


class Microphone:
    """An open device: blocks of 80 ms at its native rate, resampled as a stream.

    PortAudio's own thread puts blocks into a bounded queue; :meth:`read` sleeps until one is
    there. When the reader is too slow whole blocks are dropped and counted, never delayed.
    Once made it has given its first block: a device that opens and says nothing is not there.

    Args:
        wanted: as in :func:`~edge_ser.runtime.devices.find_device`.
        rate_hz: rate of the samples that :meth:`read` gives.

    Raises:
        InputError: no such device, it is busy, refuses or gives nothing; the message says
            what to do.
        MissingExtra: the ``audio`` extra is not installed.
    """

    def __init__(self, wanted: str | None, rate_hz: int) -> None:
        sd = sounddevice()
        self.device = device = at_its_own_rate(find_device(wanted, devices()))
        self.rate_hz = rate_hz
        self.n_overflows = 0
        self.resampler = LiveResampler(device.rate_hz, rate_hz)
        n_channels = min(device.channels, 2)
        self._mix = np.full(n_channels, 1 / n_channels, np.float32)
        self._blocks: SimpleQueue[_Block | None] = SimpleQueue()  # None: there will be no more
        self._lost_frames = 0  # of the device, not told yet
        self._last_ns = 0
        self._error = sd.PortAudioError
        try:
            self._stream = sd.RawInputStream(
                device=device.index,
                samplerate=device.rate_hz,
                channels=n_channels,
                dtype="float32",
                blocksize=device.rate_hz * BLOCK_MS // 1000,
                latency="high",  # of the system's buffer; a block is given when it is full
                callback=self._arrived,
                finished_callback=lambda: self._blocks.put(None),
            )
            self._stream.start()
        except sd.PortAudioError as error:
            raise InputError(_why(device, str(error))) from error
        try:
            self._first: _Block | None = self._next(_FIRST_S)
        except SourceGone as error:
            self.close()
            raise InputError(f"{error}; is it plugged in?") from None

    @property
    def name(self) -> str:
        """Name of the device."""
        return self.device.name

    def _arrived(self, block: Any, frames: int, _: Any, status: Any) -> None:
        """Runs in PortAudio's thread: copy the raw block, stamp, leave."""
        now = time.perf_counter_ns()
        if status.input_overflow and self._last_ns:
            # The system does not say how much was lost; the clock does.
            passed = (now - self._last_ns) * self.device.rate_hz // 1_000_000_000
            self._lost_frames += max(int(passed) - frames, 1)
        self._last_ns = now
        if self._blocks.qsize() >= _MOST_BLOCKS:
            self._lost_frames += frames
            return
        self._blocks.put((bytes(block), now))

    def _next(self, patience_s: float) -> _Block:
        try:
            block = self._blocks.get(timeout=patience_s)
        except Empty:
            raise SourceGone(f"{self.device.name}: no samples for {patience_s:g} s") from None
        if block is None:
            raise SourceGone(f"{self.device.name}: the device stopped")
        return block

    def read(self) -> Heard:
        """Wait for the next samples.

        Raises:
            SourceGone: the device stopped, or gave nothing for a second.
        """
        first, self._first = self._first, None
        block, now = first if first is not None else self._next(_SILENT_S)
        lost, self._lost_frames = self._lost_frames, 0
        self.n_overflows += lost > 0
        frames = np.frombuffer(block, np.float32).reshape(-1, len(self._mix))
        mono = frames[:, 0] if len(self._mix) == 1 else frames @ self._mix
        samples = self.resampler.push(mono)
        return Heard(samples, lost * self.rate_hz // self.device.rate_hz, now)

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
