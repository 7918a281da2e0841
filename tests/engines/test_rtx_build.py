"""Real engines from TensorRT for RTX, which builds without a GPU."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edge_ser.cli import main
from edge_ser.engines import EngineCache, read_sidecar
from edge_ser.engines.check import check_plan
from edge_ser.pack import Pack

pytest.importorskip(
    "tensorrt_rtx", reason="NO ENGINE WAS BUILT: pip install 'edge-ser[rtx]' (x86-64 Linux)"
)
pytestmark = pytest.mark.slow


def build(capsys: pytest.CaptureFixture[str], pack: Pack, cache: Path, *flags: str) -> dict:  # type: ignore[type-arg]
    status = main(
        ["build", str(pack.path), "--backend", "tensorrt-rtx", "--cache", str(cache), "--json",
         *flags]
    )  # fmt: skip
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return json.loads(captured.out)  # type: ignore[no-any-return]


def test_int8_where_the_gpu_has_it(
    pack: Pack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = build(capsys, pack, tmp_path, "--compute-capability", "8.6,12.0")
    assert first["products"]["int8"] == 14
    assert first["fused_attention"] == 2
    assert first["int8_share"] > 0.97
    assert {item["node"] for item in first["not_int8"]} == {"gate.logit", "classifier"}
    assert all(item["why"] for item in first["not_int8"])
    assert first["layers"] == sum(first[f"{p}_layers"] for p in ("int8", "fp16", "fp32"))
    engine = Path(first["engine"])
    check_plan(engine.read_bytes(), "tensorrt-rtx", "here")
    sidecar = read_sidecar(engine)
    assert sidecar.compute_capabilities == ("8.6", "12.0")
    assert {t.name for t in sidecar.tensors} >= {"mel", "logits", "memory.past"}
    assert EngineCache(tmp_path).whole(engine, pack) == sidecar
    again = build(capsys, pack, tmp_path, "--compute-capability", "12.0", "--compute-capability",
                  "8.6")  # fmt: skip
    assert again["cached"] is True
    assert again["engine"] == first["engine"]


def test_turing_runs_convolutions_in_fp16_and_that_is_told(
    pack: Pack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--compute-capability", "7.5", "--precision", "mixed")
    report = build(capsys, pack, tmp_path, *flags)
    lost = [item for item in report["not_int8"] if item["quantized"]]
    assert {item["precision"] for item in lost} == {"fp16"}
    arguments = ["build", str(pack.path), "--backend", "tensorrt-rtx", "--cache", str(tmp_path)]
    status = main([*arguments, *flags, "--min-int8-share", "0.9"])
    assert status == 3
    assert "of the multiplications run in INT8" in capsys.readouterr().err


def test_a_build_that_is_killed_is_told_as_such(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edge_ser.converters.engine import job

    def killed(folder: Path, progress: object) -> tuple[int, list[str]]:
        return -9, []

    monkeypatch.setattr(job, "_run", killed)
    arguments = ["build", str(pack.path), "--backend", "tensorrt-rtx", "--cache", str(tmp_path)]
    assert main([*arguments, "--compute-capability", "8.6"]) == 2
    assert "the build was killed, most likely because memory ran out" in capsys.readouterr().err
    assert [name for name in os.listdir(tmp_path) if name.endswith(".engine")] == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--compute-capability", "8.7"], "does not build for compute capability 8.7"),
        (["--compute-capability", "rtx"], "write it like 8.6"),
        (["--compute-capability", "8.6", "--precision", "int9"], "unknown precision 'int9'"),
        (["--compute-capability", "8.6", "--workspace-mb", "1"], "raise --workspace-mb"),
        (["--compute-capability", "8.6", "--workspace-mb", "0"], "must be 1 or more"),
        (["--compute-capability", "8.6", "--optimization-level", "9"], "is 0 to 5"),
        (["--compute-capability", "7.5", "--precision", "fp32"], "no FP32 matrix products"),
    ],
)
def test_bad_input(
    pack: Pack, tmp_path: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["build", str(pack.path), "--backend", "tensorrt-rtx", "--cache", str(tmp_path)]
    assert main([*arguments, *flags]) == 2
    assert message in capsys.readouterr().err
