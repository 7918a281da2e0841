"""The doctor's findings on recorded boards, and on the one that runs the tests."""

from __future__ import annotations

import getpass
import io
import json
import os
import platform
import tarfile
from pathlib import Path

import pytest
from making.field import field_pack
from trees import BOARDS, GOOD_RUN, Board

from edge_ser.cli.main import main
from edge_ser.errors import InputError
from edge_ser.runtime.doctor import Check, Tree, ask, examine, read_answers, write_support
from edge_ser.runtime.doctor.support import scrubber
from edge_ser.runtime.doctor.tree import jetpack_of


def findings(board: Board, root: Path) -> dict[str, Check]:
    return {check.name: check for check in examine(board.tree(root), board.answers)}


def statuses(found: dict[str, Check], status: str) -> set[str]:
    return {name for name, check in found.items() if check.status == status}


@pytest.mark.parametrize("name", BOARDS)
def test_every_finding_that_is_not_fine_has_its_fix(name: str, tmp_path: Path) -> None:
    for check in examine(BOARDS[name].tree(tmp_path), BOARDS[name].answers):
        assert check.status in ("ok", "warn", "fail")
        assert check.detail
        if check.status != "ok":
            assert check.fix, check
            assert len(check.fix) > 5, check


def test_a_healthy_orin(tmp_path: Path) -> None:
    found = findings(BOARDS["jetson-orin-jp6"], tmp_path)
    assert statuses(found, "warn") | statuses(found, "fail") == set()
    assert "Orin Nano" in found["machine"].detail
    assert found["jetpack"].detail == "L4T 36.4.3, JetPack 6.2"
    assert "compute capability 8.7" in found["gpu"].detail
    assert found["power mode"].detail == "MAXN_SUPER"
    assert "tensorrt works too" in found["choice"].detail
    assert "--require-backend tensorrt" in str(found["choice"].fix)


def test_a_neglected_xavier(tmp_path: Path) -> None:
    found = findings(BOARDS["jetson-xavier-jp5"], tmp_path)
    assert "JetPack 5.1" in found["jetpack"].detail
    assert "Python 3.8 only" in found["jetpack"].detail
    assert "video,render" in str(found["gpu"].fix)
    assert "--system-site-packages" in str(found["tensorrt"].fix)
    assert found["power mode"].fix == "sudo nvpmodel -m 0"
    assert found["clocks"].fix == "sudo jetson_clocks"
    assert "92 °C" in found["temperature"].detail or "91 °C" in found["temperature"].detail
    assert found["memory"].status == "warn"
    assert "audio" in str(found["microphone"].fix)
    assert "audio, video, render" in found["groups"].detail
    assert found["disk of engines"].status == "warn"
    assert found["engine cache"].status == "fail"
    assert "see gpu" in found["choice"].detail
    assert "MODE_15W_2CORE" in found["power mode"].detail


def test_a_raspberry_pi_with_a_weak_supply(tmp_path: Path) -> None:
    found = findings(BOARDS["raspberry-pi-5"], tmp_path)
    assert statuses(found, "warn") == {"power supply"}
    assert "there is under-voltage or throttling (0x50005)" in found["power supply"].detail
    assert found["gpu"].detail.startswith("no NVIDIA GPU")
    assert "tensorrt" not in found
    assert found["choice"].detail.endswith("because there is no NVIDIA GPU")


def test_a_kiosk_whose_engine_is_of_yesterday(tmp_path: Path) -> None:
    found = findings(BOARDS["rtx-kiosk"], tmp_path)
    assert "driver 570.133.07" in found["gpu"].detail
    assert found["engine"].status == "warn"
    assert "edge-ser build --backend tensorrt-rtx" in str(found["engine"].fix)
    assert found["golden vectors, tensorrt-rtx"].status == "warn"
    assert "edge-ser build" in str(found["golden vectors, tensorrt-rtx"].fix)
    assert "no engine is built" in found["choice"].detail


@pytest.mark.parametrize(
    ("files", "answers", "name", "status", "word"),
    [
        ({}, {"python": "3.8.10"}, "python", "fail", "3.10 to 3.13"),
        ({}, {"python": "3.14.0"}, "python", "fail", "3.10 to 3.13"),
        ({}, {"arch": "armv7l"}, "machine", "fail", "64-bit"),
        ({}, {"packages": {"numpy": "2"}}, "packages", "fail", "pip install"),
        ({}, {"packages": {"numpy": "2", "onnxruntime": "1", "onnxruntime-gpu": "1"}}, "packages", "warn", "uninstall"),
        ({}, {"packages": {"numpy": "2", "onnxruntime-gpu": "1"}}, "packages", "ok", ""),
        ({"proc/asound/pcm": "", "proc/asound/cards": ""}, {"microphones": ()}, "microphone", "warn", "USB microphone"),
        ({}, {"microphone_problem": "PortAudio cannot be loaded; install it with: apt install libportaudio2"}, "microphone", "warn", "libportaudio2"),
        ({}, {"pack": {"name": None, "problem": "x was changed"}}, "pack", "fail", "pack rollback"),
        ({}, {"store": {"damaged": ["a@1"], "on_trial": False}}, "installed pack", "warn", "pack remove a@1"),
        ({}, {"store": {"problem": "active.json is damaged"}}, "pack in use", "fail", "pack use"),
        ({}, {"store": {"free_mb": 3.0}}, "disk of packs", "warn", "make room"),
        ({"etc/nv_tegra_release": "# R32 (release), REVISION: 7.1, x"}, {}, "jetpack", "warn", "onnxruntime"),
        ({"etc/nv_tegra_release": "# R99 (release), REVISION: 1.0, x"}, {}, "jetpack", "warn", "newer"),
        ({}, {"golden": {"onnxruntime": {"problem": None, "runs": [GOOD_RUN | {"agrees": False, "agreement": 0.2}]}}}, "golden vectors, onnxruntime", "fail", "--support"),
        ({}, {"golden": {"onnxruntime": {"problem": "cannot load", "runs": []}}}, "choice", "fail", "mend"),
    ],
)  # fmt: skip
def test_single_troubles(
    files: dict[str, str], answers: dict, name: str, status: str, word: str, tmp_path: Path
) -> None:
    found = findings(BOARDS["raspberry-pi-5"].but(files, **answers), tmp_path)
    assert found[name].status == status, found[name]
    assert word in str(found[name].fix)


def test_bindings_and_library_of_two_versions(tmp_path: Path) -> None:
    board = BOARDS["jetson-orin-jp6"].but(
        bindings={"tensorrt": {"version": "8.6.2"}, "tensorrt-rtx": {"problem": "x"}}
    )
    check = findings(board, tmp_path)["tensorrt"]
    assert check.status == "fail"
    assert "library is 10.3.0" in check.detail


def test_an_empty_tree_says_what_is_unknown_and_nothing_else(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    assert (tree.model, tree.l4t, tree.cuda, tree.driver, tree.n_captures) == (None,) * 4 + (0,)
    found = {c.name: c for c in examine(tree, BOARDS["raspberry-pi-5"].answers)}
    assert "unknown board" in found["machine"].detail
    assert not {"clocks", "temperature", "memory", "power mode"} & set(found)


def test_which_jetpack() -> None:
    assert [jetpack_of(l4t) for l4t in ("36.4.3", "36.4.0", "36.9.9", "35.4.1", "32.7.4", "38.2.0", "1.0")] == [
        "6.2", "6.1", "6", "5.1", "4.6", "7.0", None
    ]  # fmt: skip


def test_here(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["doctor", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert status == (0 if said["healthy"] else 1)
    found = {check["name"]: check for check in said["checks"]}
    assert all(set(check) == {"name", "status", "detail", "fix"} for check in said["checks"])
    assert platform.python_version() in found["python"]["detail"]
    if found["pack"]["status"] == "ok":
        assert found["golden vectors, onnxruntime"]["status"] == "ok"
        assert found["choice"]["status"] == "ok"
    assert main(["doctor"]) == status
    assert "golden vectors" in capsys.readouterr().out


def test_a_pack_that_is_broken_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = field_pack(tmp_path / "pack")
    (pack / "model.cpu.onnx").write_bytes(b"broken")
    assert main(["doctor", "--json", "--pack", str(pack)]) == 1
    found = {c["name"]: c for c in json.loads(capsys.readouterr().out)["checks"]}
    assert found["pack"]["status"] == "fail"
    assert "model.cpu.onnx" in found["pack"]["detail"]


PERSONAL = {
    "proc/cpuinfo": "Serial\t\t: 10000000deadbeef\nModel\t: Pi of alice-kiosk\n",
    "etc/os-release": 'PRETTY_NAME="Debian"\nHOME_URL=http://bob:secret@10.1.2.3/home/alice/x\n',
    "proc/asound/cards": " 0 [Bobs           ]: USB-Audio - Bob's Telephone\n"
    "                      Carol Inc. Bob's Telephone at usb-0000:01:00.0-1.3, full speed\n"
    " 1 [X ]: USB - de:ad:be:ef:00:01 of alice@example.org\n",
    "proc/asound/pcm": "00-00: Bob's Telephone : USB Audio : capture 1\n",
    "usr/local/cuda/version.json": '{"cuda": {"version": "12.6.68"}, "uuid": "77"}',
}


def test_the_support_bundle_names_nobody(tmp_path: Path) -> None:
    board = BOARDS["jetson-orin-jp6"].but(
        PERSONAL, microphone_problem="no /home/alice/.asoundrc, no /media/alice/x"
    )
    tree = board.tree(tmp_path / "tree")
    (tmp_path / "tree/etc/hostname").write_text("alice-kiosk")
    checks = examine(tree, board.answers)
    out = tmp_path / "support.tar.gz"
    import edge_ser.runtime.doctor.support as support

    monkey = support._own_names
    support._own_names = lambda: ["alice-kiosk", "alice"]  # type: ignore[assignment]
    try:
        names = write_support(out, tree, board.answers, checks)
    finally:
        support._own_names = monkey  # type: ignore[assignment]
    with tarfile.open(out) as archive:
        assert archive.getnames() == names
        content = {m.name: archive.extractfile(m).read().decode() for m in archive}  # type: ignore[union-attr]
        assert all(m.uname == "" and m.mtime == 0 for m in archive.getmembers())
    everything = "\n".join(content.values())
    for secret in (
        "alice",
        "bob",
        "Bob",
        "Carol",
        "usb-0000",
        "secret",
        "deadbeef",
        "10.1.2.3",
        "de:ad:be",
        "example.org",
        "uuid",
    ):
        assert secret not in everything, secret
    assert "10.3.0" in content["doctor.json"], "versions are no addresses"
    assert not [name for name in names if name.endswith((".wav", ".npz", ".log"))]


def test_a_support_bundle_can_be_examined_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = BOARDS["rtx-kiosk"]
    tree = board.tree(tmp_path / "tree")
    checks = examine(tree, board.answers)
    write_support(tmp_path / "s.tar.gz", tree, board.answers, checks)
    with tarfile.open(tmp_path / "s.tar.gz") as archive:
        archive.extractall(tmp_path / "there", filter="data")
    assert main(["doctor", "--json", "--root", str(tmp_path / "there")]) == 0
    again = json.loads(capsys.readouterr().out)["checks"]
    # Clocks and temperatures are of the moment and not recorded.
    kept = [check.to_dict() for check in checks if check.name not in ("clocks", "temperature")]
    assert again == kept


def test_here_to_support_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "support.tar.gz"
    main(["doctor", "--json", "--support", str(out)])
    said = json.loads(capsys.readouterr().out)["support"]
    assert said["file"] == str(out)
    with tarfile.open(out) as archive:
        text = io.TextIOWrapper(archive.extractfile("answers.json")).read()  # type: ignore[arg-type]
        archive.extractall(tmp_path / "there", filter="data")
    assert read_answers(tmp_path / "there" / "answers.json").python == platform.python_version()
    user, home = getpass.getuser(), os.path.expanduser("~")
    if user != "root":
        assert user not in text
        assert home not in text


def test_no_tree_and_no_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--root", str(tmp_path / "none")]) == 2
    assert main(["doctor", "--root", str(tmp_path)]) == 2
    assert "--support" in capsys.readouterr().err
    (tmp_path / "answers.json").write_text('{"arch": "x", "python": "3.11", "surprise": 1}')
    with pytest.raises(InputError, match="surprise"):
        read_answers(tmp_path / "answers.json")
    assert main(["doctor", "--support", "/proc/no.tar.gz"]) == 2


def test_asking_needs_no_pack(tmp_path: Path) -> None:
    answers = ask(tmp_path / "none")
    assert "no pack at" in answers.pack["problem"]
    assert answers.golden == {}


def test_the_scrubber_keeps_short_names() -> None:
    assert scrubber(["pi", "kiosk7"])("the pi kiosk7 /home/x/y") == "the pi NAME /home/USER/y"
