"""``edge-ser build --precision auto``: real builds, run on the CUDA double, gated and timed."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edge_ser.cli import main
from edge_ser.engines import Host, read_sidecar
from edge_ser.pack import Pack, open_pack
from edge_ser.runtime.parity import time_engine

from . import cuda_double
from .engine_files import KIOSK, plan_of

rtx = pytest.importorskip(
    "tensorrt_rtx", reason="NO ENGINE WAS BUILT: pip install 'edge-ser[rtx]' (x86-64 Linux)"
)
pytestmark = pytest.mark.slow
VERSION = str(rtx.__version__)
BUILT: dict[bytes, Any] = {}
"""Every network is really built, once."""


@pytest.fixture
def kiosk(monkeypatch: pytest.MonkeyPatch) -> cuda_double.Gpu:
    """A kiosk whose engines are really built; the double runs the ONNX they were built from."""
    from edge_ser.converters.engine import build as build_module
    from edge_ser.converters.engine import measure
    from edge_ser.converters.engine.job import build_apart

    gpu = cuda_double.install(monkeypatch, KIOSK, "tensorrt-rtx", VERSION)
    monkeypatch.setattr("edge_ser.engines.find_host", lambda: KIOSK)

    def build_and_keep_onnx(backend: str, onnx: bytes, *rest: Any) -> Any:
        if onnx not in BUILT:
            BUILT[onnx] = build_apart(backend, onnx, *rest)
        return replace(BUILT[onnx], content=plan_of(onnx, "tensorrt-rtx"))

    monkeypatch.setattr(build_module, "build_apart", build_and_keep_onnx)
    monkeypatch.setattr(measure, "time_engine", partial(time_engine, warm_up=2, steps=20))
    return gpu


def run(capsys: pytest.CaptureFixture[str], pack: Pack, cache: Path, *flags: str) -> Any:
    arguments = ["build", str(pack.path), "--backend", "tensorrt-rtx", "--cache", str(cache)]
    status = main([*arguments, "--json", *flags])
    captured = capsys.readouterr()
    return status, (json.loads(captured.out) if status == 0 else {}), captured.err


def test_the_fastest_of_those_that_agree_is_taken(
    kiosk: cuda_double.Gpu, pack: Pack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, report, err = run(capsys, pack, tmp_path)
    assert status == 0, err
    assert report["note"] is None
    trials = report["trials"]
    assert [(t["precision"], t["base"]) for t in trials] == [
        ("int8", "fp16"), ("fp16", "fp16"), ("int8", "fp32"), ("fp32", "fp32"),
    ]  # fmt: skip
    assert all(t["problem"] is None and 0 < t["p50_ms"] <= t["p99_ms"] for t in trials)
    assert all(t["parity"]["mean_score_error"] <= 0.03 for t in trials)
    best = min(trials, key=lambda trial: trial["p50_ms"])
    assert (report["precision"], report["base"]) == (best["precision"], best["base"])
    sidecar = read_sidecar(Path(report["engine"]))
    assert sidecar.automatic
    assert sidecar.report["trials"] == trials
    assert len(list(tmp_path.glob("*.engine"))) == 4


def test_a_pack_without_a_float_model(
    kiosk: cuda_double.Gpu, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bundled pack is one."""
    status, report, err = run(capsys, open_pack(), tmp_path)
    assert status == 0, err
    assert [trial["problem"] for trial in report["trials"]] == [None] * 4


def test_a_copy_of_the_chosen_one_goes_where_it_was_asked_for(
    kiosk: cuda_double.Gpu, pack: Pack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.engine"
    status, report, err = run(capsys, pack, tmp_path / "cache", "--out", str(out))
    assert status == 0, err
    assert report["engine"] == str(out)
    assert read_sidecar(out).report["trials"]


def test_what_differs_on_the_device_is_out_however_fast(
    kiosk: cuda_double.Gpu,
    pack: Pack,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three forms give scores of their own on the device; only FP32 is left."""
    from edge_ser.converters.engine import measure

    load = measure.TrtEngine.load

    def broken(pack: Pack, backend: str, *, engine: Path) -> Any:
        loaded = load(pack, backend, engine=engine)
        if read_sidecar(engine).base == "fp32" and loaded.precision == "fp32":
            return loaded
        stream = loaded.stream

        def other() -> Any:
            made = stream()
            step = made.step
            made.step = lambda: step()[:, ::-1]
            return made

        loaded.stream = other
        return loaded

    monkeypatch.setattr(measure.TrtEngine, "load", broken)
    monkeypatch.setattr(measure, "time_engine", lambda *_: (0.1, 0.2))
    status, report, err = run(capsys, pack, tmp_path)
    assert status == 0, err
    assert report["precision"] == "fp32"
    problems = [trial["problem"] for trial in report["trials"]]
    assert problems[3] is None
    assert all("mean score error" in problem for problem in problems[:3])


def test_when_none_agrees_each_reason_is_given(
    kiosk: cuda_double.Gpu,
    pack: Pack,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kiosk.fails.add("execute_async_v3")
    status, _, err = run(capsys, pack, tmp_path)
    assert status == 2
    assert "no form of the model can be used here: int8+fp16: TensorRT refused a step" in err
    assert err.count("TensorRT refused a step") >= 4


def test_where_nothing_can_be_timed_it_says_so_and_takes_the_default(
    pack: Pack,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edge_ser.engines.find_host", lambda: Host(problem="no driver"))
    status, report, err = run(capsys, pack, tmp_path, "--compute-capability", "8.6")
    assert status == 0, err
    assert "nothing can be timed on this machine, so the default is taken" in err
    assert "nothing can be timed" in report["note"]
    assert (report["precision"], report["base"]) == ("int8", "fp16")
    status, report, err = run(capsys, pack, tmp_path, "--compute-capability", "7.5")
    assert status == 0, err
    assert (report["precision"], report["base"]) == ("fp16", "fp16")
