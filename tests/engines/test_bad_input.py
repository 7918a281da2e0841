"""What can be wrong with the order, the pack or the machine of a build: one line, what to do."""

from __future__ import annotations

import ctypes
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="engines are built from ONNX")

from edge_ser.cli import main
from edge_ser.engines import Host, find_host, host, load_bindings, product
from edge_ser.errors import BackendError, MissingExtra
from edge_ser.pack import Pack, open_pack, write_pack

from .engine_files import ORIN

RTX = "tensorrt_rtx"
needs_rtx = pytest.mark.skipif(
    __import__("importlib.util").util.find_spec(RTX) is None,
    reason="NO ENGINE WAS BUILT: pip install 'edge-ser[rtx]' (x86-64 Linux)",
)


def build(pack: Path, cache: Path, *flags: str, backend: str = "tensorrt-rtx") -> int:
    return main(["build", str(pack), "--backend", backend, "--cache", str(cache), *flags])


@needs_rtx
@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--compute-capability", "8.7"], "does not build for compute capability 8.7"),
        (["--compute-capability", "9.0"], "data centre GPUs need --backend tensorrt"),
        (["--compute-capability", "rtx"], "write it like 8.6"),
        (["--compute-capability", "8.6", "--precision", "int9"], "unknown precision 'int9'"),
        (["--compute-capability", "8.6", "--workspace-mb", "1"], "raise --workspace-mb"),
        (["--compute-capability", "8.6", "--workspace-mb", "0"], "must be 1 or more"),
        (["--compute-capability", "8.6", "--memory-mb", "100"], "is less than --workspace-mb 256"),
        (["--compute-capability", "8.6", "--optimization-level", "9"], "is 0 to 5"),
        (["--compute-capability", "7.5", "--precision", "fp32"], "no FP32 matrix products"),
        (["--compute-capability", "8.6", "--input", "nowhere.wav"], "nowhere.wav"),
        (["--compute-capability", "8.6", "--data", "nowhere"], "write it as corpus=DIR"),
        (["--compute-capability", "8.6", "--min-int8-share", "nan"], "a share from 0 to 1"),
        (["--compute-capability", "8.6", "--limit", "0"], "--limit must be 1 or more"),
        (["--compute-capability", "8.6", "--out", "."], "Is a directory"),
        (["--compute-capability", "8.6", "--timing-cache", "."], "Is a directory"),
    ],
)
def test_the_order(
    pack: Pack, tmp_path: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(pack.path, tmp_path, *flags) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if message in line]
    assert len(said) == 1
    assert list(tmp_path.glob("*.engine")) == []


@needs_rtx
def test_a_cache_that_cannot_be_written(
    pack: Pack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert build(pack.path, tmp_path / "file" / "x", "--compute-capability", "8.6") == 2
    said = capsys.readouterr().err
    assert "cannot be written to" in said
    assert "set EDGE_SER_ENGINES or use --out" in said


@needs_rtx
def test_no_gpu_and_none_named(
    pack: Pack,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edge_ser.engines.find_host", lambda: Host(problem="no driver"))
    assert build(pack.path, tmp_path) == 2
    assert "this machine has no GPU to build for (no driver); name one" in capsys.readouterr().err


@pytest.fixture
def jetson(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Bindings of TensorRT 10.3 that nobody gets to call."""
    trt = types.ModuleType("tensorrt")
    trt.__version__ = "10.3.0"  # type: ignore[attr-defined]
    trt.NetworkDefinitionCreationFlag = types.SimpleNamespace(STRONGLY_TYPED=1)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    return trt


@pytest.mark.parametrize(
    ("machine", "flags", "message"),
    [
        (Host(problem="no driver"), [], "builds engines on the GPU that will run them: no driver"),
        (ORIN, ["--compute-capability", "7.2"], "(Orin, 8.7), not for 7.2; run it on the target"),
    ],
)
def test_tensorrt_builds_on_its_own_gpu_only(
    pack: Pack,
    tmp_path: Path,
    jetson: types.ModuleType,
    machine: Host,
    flags: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edge_ser.engines.find_host", lambda: machine)
    assert build(pack.path, tmp_path, *flags, backend="tensorrt") == 2
    assert message in capsys.readouterr().err


def test_a_tensorrt_that_is_too_old(jetson: types.ModuleType) -> None:
    jetson.__version__ = "8.2.1.8"  # type: ignore[attr-defined]
    with pytest.raises(BackendError, match=r"8\.2\.1\.8 is too old: edge-ser needs 8\.5"):
        load_bindings("tensorrt")


def test_a_folder_called_tensorrt_is_no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Type stubs install one."""
    monkeypatch.setitem(sys.modules, "tensorrt", types.ModuleType("tensorrt"))
    with pytest.raises(BackendError, match="no TensorRT for this Python"):
        load_bindings("tensorrt")


def test_no_tensorrt_on_a_jetson_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(product, "l4t_release", lambda: "36.4.3")
    monkeypatch.setattr(product.importlib, "import_module", missing)
    with pytest.raises(BackendError, match="--system-site-packages"):
        load_bindings("tensorrt")
    monkeypatch.setattr(product, "l4t_release", lambda: None)
    with pytest.raises(BackendError, match="elsewhere: pip install tensorrt"):
        load_bindings("tensorrt")


def test_no_tensorrt_for_rtx_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product.importlib, "import_module", missing)
    monkeypatch.setattr(product.platform, "machine", lambda: "x86_64")
    with pytest.raises(MissingExtra, match=r"edge-ser\[rtx\]"):
        load_bindings("tensorrt-rtx")
    monkeypatch.setattr(product.platform, "machine", lambda: "aarch64")
    with pytest.raises(BackendError, match="exists for x86-64 only, this is aarch64"):
        load_bindings("tensorrt-rtx")


def missing(name: str) -> None:
    raise ModuleNotFoundError(name)


def test_libraries_that_do_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ImportError("libnvinfer.so.10: cannot open shared object file")

    monkeypatch.setattr(product.importlib, "import_module", broken)
    with pytest.raises(BackendError, match=r"cannot be loaded \(libnvinfer\.so\.10"):
        load_bindings("tensorrt")


def fake_driver(**status: int) -> Any:
    """A libcuda whose calls return the given CUresult."""

    def describe(code: int, text: Any) -> int:
        text._obj.value = {100: b"no CUDA-capable device is detected"}.get(code, b"unknown error")
        return 0

    def value(pointer: Any, *rest: Any) -> int:
        pointer._obj.value = 12060
        return 0

    calls = {
        "cuInit": lambda flags: status.get("init", 0),
        "cuDriverGetVersion": value,
        "cuDeviceGet": lambda device, ordinal: status.get("device", 0),
        "cuDeviceGetName": lambda name, size, device: setattr(name, "value", b"Orin") or 0,
        "cuDeviceGetAttribute": lambda pointer, kind, device: (
            setattr(pointer._obj, "value", {75: 8, 76: 7}[kind]) or 0
        ),
        "cuGetErrorString": describe,
    }
    return types.SimpleNamespace(**calls)


@pytest.mark.parametrize(
    ("driver", "message"),
    [
        (None, "libcuda.so.1 cannot be opened; on a Jetson the user must be in the group video"),
        ({"init": 100}, "cuInit says no CUDA-capable device is detected (CUDA 100)"),
        ({"device": 101}, "there is no GPU 0 (unknown error (CUDA 101))"),
    ],
)
def test_no_driver_and_no_device(
    driver: dict[str, int] | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str) -> Any:
        if driver is None:
            raise OSError
        return fake_driver(**driver)

    monkeypatch.setattr(host.ctypes, "CDLL", load)
    found = find_host()
    assert not found.has_gpu
    assert message in str(found.problem)


def test_a_gpu_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.ctypes is ctypes
    monkeypatch.setattr(host.ctypes, "CDLL", lambda name: fake_driver())
    monkeypatch.setattr(host, "l4t_release", lambda: "36.4.3")
    monkeypatch.setattr(host, "driver_release", lambda: "540.4.0")
    assert find_host() == Host("8.7", "Orin", "540.4.0", "36.4.3", cuda="12.6")


Change = Callable[[Any], None]


def repacked(pack: Pack, out: Path, change: Change | None, targets: tuple[str, ...] = ()) -> Path:
    """``pack`` with its TensorRT model changed, or with fewer targets."""
    manifest = pack.manifest
    kept = {n: t for n, t in manifest.targets.items() if not targets or n in targets}
    files = {target.file: pack.read(target.file) for target in kept.values()}
    if change is not None:
        model = onnx.load_model_from_string(files["tensorrt.onnx"])
        change(model.graph)
        files["tensorrt.onnx"] = model.SerializeToString()
    write_pack(replace(manifest, targets=kept, files={}), files, out)
    return out


def node(graph: Any, name: str) -> Any:
    return next(n for n in graph.node if n.name == name)


def with_zero_point(value: Any) -> Change:
    def change(graph: Any) -> None:
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), "odd"))
        for part in ("q", "dq"):
            node(graph, f"middle0.joined.{part}").input[2] = "odd"

    return change


def along_the_wrong_axis(graph: Any) -> None:
    """Weights of a convolution with one scale per input channel, right in every other way."""
    pair = node(graph, "middle1.weight")
    tensors = {t.name: t for t in graph.initializer}
    stored, scale, zero = (tensors[name] for name in pair.input)
    weight = onnx.numpy_helper.to_array(stored) * (onnx.numpy_helper.to_array(scale)[:, None, None])
    scales = (np.abs(weight).max(axis=(0, 2)) / 127).astype(np.float32)
    rounded = np.round(weight / scales[None, :, None]).astype(np.int8)
    for tensor, value in (
        (stored, rounded), (scale, scales), (zero, np.zeros(len(scales), np.int8)),
    ):  # fmt: skip
        tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    next(a for a in pair.attribute if a.name == "axis").i = 1


@needs_rtx
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_zero_point(np.int8(3)), "QuantizeLinear 'middle0.joined.q': zero point 3 instead"),
        (with_zero_point(np.uint8(0)), "QuantizeLinear 'middle0.joined.q': UINT8"),
    ],
)
def test_a_model_quantized_the_wrong_way(
    pack: Pack,
    tmp_path: Path,
    change: Change,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong = repacked(pack, tmp_path / "wrong", change)
    assert (
        build(wrong, tmp_path / "cache", "--compute-capability", "8.6,7.5", "--precision", "mixed")
        == 2
    )
    assert f"target tensorrt cannot be built: {message}" in capsys.readouterr().err


@needs_rtx
@pytest.mark.slow
def test_weights_quantized_along_the_wrong_axis(
    pack: Pack,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The linter names the node, and the builder does what the linter says."""
    wrong = repacked(pack, tmp_path / "wrong", along_the_wrong_axis)
    flags = ("--compute-capability", "8.6", "--precision", "mixed", "--min-int8-share", "1")
    assert build(wrong, tmp_path / "cache", *flags) == 3
    said = "the weight of Conv 'middle1.sum' has its scales along axis 1; only axis 0 runs in INT8"
    assert said in caplog.text
    assert "middle1.sum (fp16) do not" in capsys.readouterr().err


@needs_rtx
@pytest.mark.parametrize(
    ("targets", "precision", "message"),
    [
        (("float",), "int8", "has no int8 model for tensorrt-rtx, only float (fp32 for"),
    ],
)
def test_a_pack_that_lacks_a_form(
    pack: Pack,
    tmp_path: Path,
    targets: tuple[str, ...],
    precision: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    less = repacked(pack, tmp_path / "less", None, targets)
    assert open_pack(less)
    flags = ("--compute-capability", "8.6", "--precision", precision)
    assert build(less, tmp_path / "cache", *flags) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "convert it again with --targets cpu,tensorrt" in said
