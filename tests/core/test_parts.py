"""Unfinished files: taken over from the dead, never from the living, and nothing else touched."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

import edge_ser
from edge_ser.files import put_file, write_text
from edge_ser.parts import claim

HALF = """
import os, signal, sys
from pathlib import Path
from edge_ser.parts import claim
file, folder = claim(Path(sys.argv[1])), claim(Path(sys.argv[2]), folder=True)
os.write(file.handle, b"half")
(folder.path / "deep").mkdir()
(folder.path / "deep" / "half").write_bytes(b"half")
print("half", flush=True)
if len(sys.argv) > 3:
    input()
os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_gap_between_leftovers_hides_none(tmp_path: Path) -> None:
    first, second, third = (claim(tmp_path / "a") for _ in range(3))
    second.discard()
    os.close(third.handle)  # as the kernel does when its writer is killed
    first.discard()
    claim(tmp_path / "a").discard()
    assert names(tmp_path) == []


def writer(tmp_path: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HALF, str(tmp_path / "a"), str(tmp_path / "b"), *more]
    root = str(Path(edge_ser.__file__).resolve().parent.parent)
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip


def test_what_a_killed_writer_left_is_taken_over(tmp_path: Path) -> None:
    with writer(tmp_path) as process:
        assert process.wait() == -signal.SIGKILL
    assert names(tmp_path) == [".a.1.edge-ser-part", ".b.1.edge-ser-part"]
    write_text(tmp_path / "a", "whole")
    folder = claim(tmp_path / "b", folder=True)
    assert names(folder.path) == []
    folder.discard()
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "whole"


def test_what_a_living_writer_writes_is_left_alone(tmp_path: Path) -> None:
    with writer(tmp_path, "and wait") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        write_text(tmp_path / "a", "whole")
        claim(tmp_path / "b", folder=True).discard()
        assert names(tmp_path) == [".a.1.edge-ser-part", ".b.1.edge-ser-part", "a"]
        assert (tmp_path / ".b.1.edge-ser-part" / "deep" / "half").read_bytes() == b"half"
        process.kill()
    claim(tmp_path / "b", folder=True).discard()
    claim(tmp_path / "a").discard()
    assert names(tmp_path) == ["a"]


def test_parts_of_more_writers_are_swept_too(tmp_path: Path) -> None:
    first, second = claim(tmp_path / "a"), claim(tmp_path / "a")
    assert first.path != second.path
    second.close()  # as a kill would
    first.discard()
    assert names(tmp_path) == [".a.2.edge-ser-part"]
    claim(tmp_path / "a").discard()
    assert names(tmp_path) == []


def test_a_part_that_was_put_in_place_is_not_discarded(tmp_path: Path) -> None:
    part = claim(tmp_path / "a")
    put_file(part, tmp_path / "a")
    other = claim(tmp_path / "a")
    part.discard()
    assert names(tmp_path) == [other.path.name, "a"]
    other.discard()


@pytest.mark.parametrize("folder", [False, True])
def test_what_is_not_ours_is_left_alone(tmp_path: Path, folder: bool) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thing").write_text("x")
    (tmp_path / ".a.1.edge-ser-part").symlink_to("precious/thing" if not folder else "precious")
    os.mkfifo(tmp_path / ".a.2.edge-ser-part")
    (tmp_path / "linked").write_text("x")
    os.link(tmp_path / "linked", tmp_path / ".a.3.edge-ser-part")
    (tmp_path / ".a.settings").write_text("x")
    before = names(tmp_path)
    claim(tmp_path / "a", folder=folder).discard()
    assert names(tmp_path) == before
    assert (tmp_path / "precious" / "thing").read_text() == "x"
    assert (tmp_path / "linked").read_text() == "x"


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(handle: int, flags: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    (tmp_path / ".a.1.edge-ser-part").write_text("of another machine, perhaps")
    monkeypatch.setattr(fcntl, "flock", no_locks)
    write_text(tmp_path / "a", "whole")
    claim(tmp_path / "b", folder=True).discard()
    assert names(tmp_path) == [".a.1.edge-ser-part", "a"]
    assert (tmp_path / ".a.1.edge-ser-part").read_text() == "of another machine, perhaps"


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        claim(tmp_path / "none" / "a")
    with pytest.raises(OSError, match="name too long"):
        claim(tmp_path / ("x" * 250))


def test_many_writers_of_one_file(tmp_path: Path) -> None:
    """Threads lock each other out just as processes do."""
    place, texts = tmp_path / "a", [str(n) * 50_000 for n in range(4)]
    threads = [Thread(target=lambda t=t: [write_text(place, t) for _ in range(25)]) for t in texts]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert not place.exists() or place.read_text() in texts
    assert place.read_text() in texts
    claim(place).discard()
    assert names(tmp_path) == ["a"]
