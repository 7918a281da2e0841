"""A support bundle: findings and the files they came from, and nothing that names anybody."""

from __future__ import annotations

import contextlib
import getpass
import io
import json
import os
import platform
import pwd
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path

from edge_ser.files import replace_file
from edge_ser.runtime.doctor.answers import ANSWERS, Answers
from edge_ser.runtime.doctor.check import Check
from edge_ser.runtime.doctor.tree import RECORDED, Tree

__all__ = ["scrubber", "write_support"]

_SECRET_LINES = re.compile(r"(?im)^.*\b(serial|machine.?id|uuid|mac.?address)\b.*\n?")
_ADDRESS = re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b")
_PATTERNS = (
    (re.compile(r"\b(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}\b"), "MAC"),
    (re.compile(r"[\w.+-]+@[\w-]+\.[A-Za-z]{2,}\b"), "MAIL"),
    (re.compile(r"://[^/\s:@]+:[^/\s@]+@"), "://SECRET@"),
    (re.compile(r"/(home|Users|media)/[^/\s'\"]+"), r"/\1/USER"),
)
_CARD = re.compile(r"\[[^\]\n]*\](: \S+) - .*(?:\n\s{20,}.*)?")
"""A sound card of ALSA: its short name, driver and name, then a line of where it is plugged in."""
_PEOPLE = range(1000, 60000)
"""User numbers that Debian gives to people and not to services."""
_LARGEST = 256 * 1024


def write_support(out: Path, tree: Tree, answers: Answers, checks: Sequence[Check]) -> list[str]:
    """Write a ``.tar.gz`` that ``edge-ser doctor --root`` can examine after unpacking.

    There is no audio, no name of a device, user, host or network in it, and no address; lines
    with serial numbers are left out.

    Returns:
        names of the files in it.

    Raises:
        InputError: ``out`` cannot be written.
    """
    scrub = scrubber([*_own_names(), *_card_names(tree)])
    found = {
        ANSWERS: json.dumps(answers.to_dict(), indent=1),
        "doctor.json": json.dumps({"checks": [check.to_dict() for check in checks]}, indent=1),
    }
    for name in RECORDED:
        path = tree.root / name
        with contextlib.suppress(OSError):
            text = path.read_bytes()[:_LARGEST].decode(errors="replace")
            # Not in the findings: a version like 10.13.3.9 looks like an address.
            text = _CARD.sub(r"[NAME]\1 - NAME", text) if name.endswith("asound/cards") else text
            found[name] = _ADDRESS.sub("ADDRESS", _SECRET_LINES.sub("", text))
    with replace_file(out) as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, text in found.items():
            content = scrub(text).encode()
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            archive.addfile(info, io.BytesIO(content))
    return list(found)


class scrubber:  # noqa: N801 - it is used as a function
    """Takes out of a text whatever names the user, the machine or its network."""

    def __init__(self, names: Sequence[str] | None = None) -> None:
        names = _own_names() if names is None else names
        words = sorted({name for name in names if len(name) > 2}, key=len, reverse=True)
        self._names = re.compile("|".join(map(re.escape, words))) if words else None

    def __call__(self, text: str) -> str:
        """The text without them."""
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return text if self._names is None else self._names.sub("NAME", text)


def _card_names(tree: Tree) -> list[str]:
    """Of a telephone, say, whose owner is in its name."""
    return [card.partition(" - ")[2].strip() for card in tree.sound_cards]


def _own_names() -> list[str]:
    """Of the machine, of who runs this (through sudo, too), and of everybody who logs in here."""
    names = [platform.node(), platform.node().partition(".")[0], os.path.expanduser("~")]
    names.append(os.environ.get("SUDO_USER", ""))
    with contextlib.suppress(KeyError, OSError, ImportError):
        names.append(getpass.getuser())
    for user in pwd.getpwall():
        if user.pw_uid in _PEOPLE:
            names += [user.pw_name, user.pw_gecos.partition(",")[0]]
    return [name for name in names if name not in ("/", "root", "/root", "localhost")]
