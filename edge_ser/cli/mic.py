"""``edge-ser mic``: which microphones there are, and whether one hears well."""

from __future__ import annotations

import argparse
import math
import sys
import time

from edge_ser.cli.options import add_json, print_json
from edge_ser.errors import InputError, UsageError

__all__ = ["add_arguments", "execute"]

_WIDTH = 40
_LOWEST_DB = -80.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``mic``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add_json(actions.add_parser("list", help="microphones of this machine"))
    test = actions.add_parser("test", help="level, noise floor, clipping and rate of one")
    test.add_argument("name", nargs="?", help="name, part of it or USB id (default: the default)")
    test.add_argument(
        "--seconds", type=float, default=5.0, metavar="N", help="how long (default: 5)"
    )
    add_json(test)


def execute(options: argparse.Namespace) -> int:
    """Do what ``options`` ask."""
    return {"list": _list, "test": _test}[options.action](options)


def _list(options: argparse.Namespace) -> int:
    from edge_ser.runtime.devices import at_its_own_rate, devices

    found = [at_its_own_rate(device) for device in devices()]
    if options.json:
        print_json({"microphones": [device.to_dict() for device in found]})
        return 0
    if not found:
        print("no microphone found")
    for device in found:
        mark = "*" if device.default else " "
        usb = f"  usb {device.usb_id}" if device.usb_id else ""
        print(
            f"{mark} {device.name}  {device.rate_hz} Hz, {device.channels} in, {device.host}{usb}"
        )
    return 0


def _test(options: argparse.Namespace) -> int:
    import numpy as np

    from edge_ser.runtime.live_source import SourceGone
    from edge_ser.runtime.mic import Microphone

    if not 0 < options.seconds <= 3600:
        raise UsageError(f"--seconds {options.seconds:g}: between 0 and 3600 please")
    levels: list[float] = []
    n_samples = n_clipped = 0
    with Microphone(options.name, 16000) as mic:
        begin = time.monotonic()
        first_ns = last_ns = 0
        while time.monotonic() - begin < options.seconds:
            try:
                heard = mic.read()
            except SourceGone as error:
                raise InputError(f"{error}; is it plugged in and not muted?") from error
            if not len(heard.samples):
                continue
            if not first_ns:
                first_ns = heard.captured_ns  # what was there before counts no time
            else:
                n_samples += len(heard.samples)
            last_ns = heard.captured_ns
            n_clipped += int(np.count_nonzero(np.abs(heard.samples) >= 0.999))
            power = float(np.mean(np.square(heard.samples)))
            levels.append(10 * math.log10(power + 1e-12))
            if not options.json and sys.stdout.isatty():
                _meter(levels[-1])
        overflows = mic.n_overflows
        device = mic.device
    passed_s = (last_ns - first_ns) / 1e9
    report = {
        "microphone": device.to_dict(),
        "seconds": round(passed_s, 2),
        "level_db": _percentile(levels, 0.95),
        "noise_floor_db": _percentile(levels, 0.1),
        "clipped_samples": n_clipped,
        "overflows": overflows,
        "measured_rate_hz": round(n_samples / passed_s * device.rate_hz / 16000, 1)
        if passed_s > 0
        else None,
    }
    if options.json:
        print_json(report)
        return 0
    if sys.stdout.isatty():
        print()
    print(f"{device.name}: {device.rate_hz} Hz (measured {report['measured_rate_hz']} Hz)")
    print(f"  level        {report['level_db']:7.1f} dBFS (loud parts)")
    print(f"  noise floor  {report['noise_floor_db']:7.1f} dBFS")
    print(f"  clipped      {n_clipped} samples" + (": turn the gain down" if n_clipped else ""))
    print(f"  overflows    {overflows}")
    if float(str(report["level_db"])) < _LOWEST_DB:
        print("  hears nothing: is it muted, or the wrong one? See: edge-ser mic list")
    return 0


def _meter(level_db: float) -> None:
    share = min(1.0, max(0.0, 1 - level_db / _LOWEST_DB))
    bar = ("█" * round(share * _WIDTH)).ljust(_WIDTH, "·")
    print(f"\r{bar} {level_db:6.1f} dBFS", end="", flush=True)


def _percentile(levels: list[float], share: float) -> float:
    if not levels:
        return -120.0
    return round(sorted(levels)[min(len(levels) - 1, int(share * len(levels)))], 1)
