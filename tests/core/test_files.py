"""Files appear whole or not at all, also when the writer is killed or the disk is full."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from edge_ser.errors import InputError, OutputError
from edge_ser.files import check_writable, read_regular, replace_file, write_text

WRITER = """
import sys
from pathlib import Path
from edge_ser.files import replace_file
generation = 0
while True:
    generation += 1
    with replace_file(Path(sys.argv[1])) as file:
        for _ in range(64):
            file.write(bytes([generation % 256]) * 4096)
            file.flush()
    print(generation, flush=True)
"""


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    draw = random.Random(1)
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()  # at least one whole file is there
            time.sleep(draw.uniform(0.0, 0.05))
            process.send_signal(signal.SIGKILL)
        content = path.read_bytes()
        assert len(content) == 64 * 4096
        assert len(set(content)) == 1, "two generations in one file"


def test_an_error_while_writing_keeps_the_old_file_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail_half_way() -> None:
        with replace_file(path) as file:
            file.write(b"new")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail_half_way()
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


def test_ctrl_c_while_writing_stays_ctrl_c(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(KeyboardInterrupt), replace_file(path):
        raise KeyboardInterrupt
    assert not any(tmp_path.iterdir())


def test_a_full_disk_is_no_fault_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    if Path("/dev/full").exists():

        def open_full(handle: int, mode: str, closefd: bool) -> BinaryIO:
            assert not closefd
            return open("/dev/full", "wb")

        monkeypatch.setattr(os, "fdopen", open_full)
    else:
        pytest.skip("this system has no /dev/full")
    with pytest.raises(OutputError, match=r"cannot write .*a\.txt: No space left") as caught:
        write_text(path, "new")
    assert caught.value.exit_status == 1
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write .*file/below/a\.txt"):
        write_text(tmp_path / "file" / "below" / "a.txt", "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="Permission denied"):
            write_text(tmp_path / "a.txt", "x")
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match="Is a directory"):
        write_text(tmp_path / "a", "x")
    assert [item.name for item in tmp_path.iterdir()] == ["a"]


def test_a_file_gets_the_permissions_of_an_ordinary_one(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "deep" / "a.txt", "grüß Gott")
    assert (tmp_path / "new" / "deep" / "a.txt").read_bytes() == "grüß Gott".encode()


def test_checking_changes_nothing(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "x")
    check_writable(tmp_path / "a")
    check_writable(tmp_path / "b")
    assert [item.name for item in tmp_path.iterdir()] == ["a"]
    for wrong in (tmp_path, tmp_path / "a" / "below"):
        with pytest.raises(InputError, match="cannot write"):
            check_writable(wrong)


def test_a_link_leads_to_the_file_that_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_pipe_is_neither_replaced_nor_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for attempt in (lambda: write_text(pipe, "x"), lambda: check_writable(pipe)):
        with pytest.raises(InputError, match="it is a device or a pipe; name a file"):
            attempt()
    assert pipe.is_fifo()
    with pytest.raises(OSError, match="no regular file"):
        read_regular(pipe, 10)
