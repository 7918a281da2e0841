"""What goes into a bundle, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from making.field import field_pack

import edge_ser.bundle.wheels as wheels_module
from edge_ser.bundle.lean import UNUSED, make_lean
from edge_ser.bundle.make import make_bundle
from edge_ser.bundle.size import main as size_main
from edge_ser.bundle.size import measure
from edge_ser.bundle.targets import TARGETS, target_named
from edge_ser.bundle.wheels import fetch
from edge_ser.cli.main import main
from edge_ser.errors import InputError, UsageError
from edge_ser.pack import open_pack

FILES = Path(__file__).parents[2] / "edge_ser" / "bundle" / "files"


def test_the_targets_of_the_issue_are_there() -> None:
    assert {"jetson-jp6", "arm64-cpu", "x86-rtx"} <= {target.name for target in TARGETS}
    jetson = target_named("jetson-jp6")
    assert "manylinux_2_35_aarch64" in jetson.platforms  # Ubuntu 22.04
    assert "manylinux_2_36_aarch64" not in jetson.platforms
    assert jetson.pythons == ("3.10",)
    assert jetson.system_packages
    with pytest.raises(UsageError, match="there are: jetson-jp6"):
        target_named("jetson-jp9")


def test_odd_requests(tmp_path: Path) -> None:
    pack = open_pack(field_pack(tmp_path / "pack"))
    target = target_named("arm64-cpu")
    with pytest.raises(UsageError, match=r"3\.8"):
        make_bundle(target, pack, tmp_path / "out.tar", pythons=("3.8",))
    with pytest.raises(InputError, match="no such file"):
        make_bundle(target, pack, tmp_path / "out.tar", wheel=tmp_path / "none.whl")
    assert main(["bundle", "--target", "arm64-cpu", "--out", "/proc/x.tar"]) == 2
    assert main(["bundle", "--target", "toaster", "--out", str(tmp_path / "out.tar")]) == 2
    assert not (tmp_path / "out.tar").exists()


@pytest.mark.slow
def test_what_is_in_it(bundle: Path) -> None:
    said = json.loads((bundle / "bundle.json").read_text())
    assert said["BUNDLE"] == bundle.name
    listed = dict(
        line.split("  ")[::-1] for line in (bundle / "SHA256SUMS").read_text().splitlines()
    )
    files = {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()}
    assert files == {*listed, "SHA256SUMS"}
    for name, digest in listed.items():
        assert hashlib.sha256((bundle / name).read_bytes()).hexdigest() == digest
    (requirements,) = bundle.glob("requirements-*.txt")
    names = [line.split("==")[0] for line in requirements.read_text().splitlines()]
    assert {"edge-ser", "numpy", "onnxruntime", "uvicorn", "paho-mqtt"} <= set(names)
    assert not {"sympy", "torch", "pip"} & set(names)
    (pack,) = (bundle / "packs").iterdir()
    open_pack(pack).verify()


@pytest.mark.parametrize("script", sorted(FILES.glob("*.sh")), ids=lambda path: path.name)
def test_the_scripts_are_clean(script: Path) -> None:
    subprocess.run(["sh", "-n", script], check=True)
    if shutil.which("shellcheck") is None:
        pytest.skip("needs shellcheck")
    done = subprocess.run(
        ["shellcheck", "-S", "warning", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_lean_takes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    kept = ["numpy/_core/x.py", "numpy/linalg/y.py", "onnxruntime/capi/onnxruntime_pybind11_state.so",
            "edge_ser/runtime/z.py", "other/tests/t.py"]  # fmt: skip
    gone = ["numpy/_core/tests/t.py", "onnxruntime/capi/libonnxruntime.so.1.32.0",
            "onnxruntime/transformers/a/b.py", "edge_ser/training/fit.py",
            "numpy/__init__.pyi", "numpy/linalg/__pycache__/y.pyc"]  # fmt: skip
    for name in kept + gone:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("12345")
    assert make_lean(tmp_path) == 5 * len(gone)
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()} == set(
        kept
    )
    (tmp_path / "torch").mkdir()
    (tmp_path / "edge_ser/training").mkdir()
    make_lean(tmp_path)
    assert (tmp_path / "edge_ser/training").exists(), "what trains here keeps what it needs"
    engines = [
        tmp_path / "onnxruntime" / name for name in ("quantization", "transformers", "tools")
    ]
    for folder in (tmp_path / "onnx", *engines):
        folder.mkdir(exist_ok=True)
    make_lean(tmp_path)
    assert all(folder.exists() for folder in engines), "and what builds engines"
    assert all(UNUSED.values())


def test_what_the_registry_has_as_a_source_only_becomes_a_wheel_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(wheels_module, "_pip", lambda *words: calls.append(words))
    fetch(target_named("x86-rtx"), "3.12", tmp_path / "edge_ser.whl", tmp_path)
    (first, second) = calls
    assert (first[0], first[-1]) == ("wheel", "tensorrt-rtx-cu12")
    folder = first[first.index("-w") + 1]
    assert second[0] == "download"
    assert f"--find-links={folder}" in second


def test_headers_outlive_what_is_compiled() -> None:
    """pycuda is compiled with the headers of numpy, which the lean installation has not."""
    text = (FILES / "install.sh").read_text()
    assert text.index("--no-build-isolation") < text.index("edge_ser.bundle.lean")


def test_size_is_itemised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = tmp_path / "thing-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: Thing_One\nVersion: 1\n")
    (info / "RECORD").write_text("thing/a.py,,\nthing-1.dist-info/METADATA,,\n")
    (tmp_path / "thing" / "__pycache__").mkdir(parents=True)
    (tmp_path / "thing" / "a.py").write_bytes(b"x" * 1000)
    (tmp_path / "thing" / "__pycache__" / "a.pyc").write_bytes(b"x" * 500)
    (tmp_path / "stray.py").write_bytes(b"x" * 10)
    sizes = measure(tmp_path)
    assert sizes["(other)"] == 10
    assert sizes["thing-one"] >= 1500
    assert size_main([str(tmp_path), "--json", "--at-most", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == sum(sizes.values())
    assert size_main([str(tmp_path), "--at-most", "0.001"]) == 3
