"""Real engines from TensorRT for RTX, which builds without a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_ser.cli import main
from edge_ser.engines import EngineCache, read_sidecar
from edge_ser.engines.check import check_plan
from edge_ser.pack import Pack, open_pack

pytest.importorskip(
    "tensorrt_rtx", reason="NO ENGINE WAS BUILT: pip install 'edge-ser[rtx]' (x86-64 Linux)"
)
pytestmark = pytest.mark.slow


def build(
    capsys: pytest.CaptureFixture[str], pack: Pack, cache: Path, *flags: str
) -> dict[str, Any]:
    status = main(
        ["build", str(pack.path), "--backend", "tensorrt-rtx", "--cache", str(cache), "--json",
         *flags]
    )  # fmt: skip
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return json.loads(captured.out)  # type: ignore[no-any-return]


def assert_int8_but_for_the_classifier(report: dict[str, Any]) -> None:
    assert report["int8_share"] > 0.997
    assert [(row["node"], row["quantized"]) for row in report["not_int8"]] == [
        ("classifier", False)
    ]


def test_int8_where_the_gpu_has_it(
    pack: Pack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = build(capsys, pack, tmp_path, "--compute-capability", "8.6,12.0")
    assert first["products"]["int8"] == 15
    assert first["fused_attention"] == 2
    assert_int8_but_for_the_classifier(first)
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


def test_the_bundled_pack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the documentation tells a newcomer to type, with every check on."""
    report = build(capsys, open_pack(), tmp_path, "--compute-capability", "8.6")
    assert_int8_but_for_the_classifier(report)


@pytest.mark.parametrize("capabilities", ["7.5", "7.5,8.6,12.0"])
def test_turing_gets_matrix_products_and_so_int8(
    pack: Pack, tmp_path: Path, capsys: pytest.CaptureFixture[str], capabilities: str
) -> None:
    flags = ("--compute-capability", capabilities, "--precision", "mixed")
    report = build(capsys, pack, tmp_path, *flags)
    assert_int8_but_for_the_classifier(report)
    assert report["fused_attention"] == 2


def test_convolutions_on_turing_leave_int8_which_fails_the_build(
    pack: Pack,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the matrix products the builder falls back in silence; the gate sees it."""
    from edge_ser.converters.engine import variants

    monkeypatch.setattr(variants, "unfold_convolutions", lambda model: model)
    flags = ["--compute-capability", "7.5", "--precision", "mixed"]
    arguments = ["build", str(pack.path), "--backend", "tensorrt-rtx", "--cache", str(tmp_path)]
    assert main([*arguments, *flags]) == 3
    said = capsys.readouterr().err
    assert "of the multiplications run in INT8, at least 90% should: shallow0.sum (fp16)" in said
    assert list(tmp_path.glob("*.engine")) == []
    report = build(capsys, pack, tmp_path, *flags, "--min-int8-share", "0")
    lost = [item for item in report["not_int8"] if item["quantized"]]
    assert {item["precision"] for item in lost} == {"fp16"}
    assert all("this GPU's kernels compute it in fp16" in item["why"] for item in lost)


def test_the_exact_network_is_compared_with_float_first(
    pack: Pack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = build(capsys, pack, tmp_path, "--compute-capability", "8.6")
    parity = report["parity"]
    assert parity["clips"] == 1
    assert parity["steps"] > 90
    assert 0.0 < parity["mean_score_error"] < 0.03
    assert report["sidecar"]["report"]["parity"] == parity


def test_progress_is_told(pack: Pack) -> None:
    from edge_ser.converters.engine.job import build_apart
    from edge_ser.converters.engine.settings import BuildSettings

    seen: list[tuple[str, int, int]] = []
    settings = BuildSettings(("8.6",), int8=True, half=False)
    onnx = pack.read("tensorrt.onnx")
    build_apart("tensorrt-rtx", onnx, settings, lambda *step: seen.append(step))
    assert {"Building engine"} < {phase for phase, _, _ in seen}
    assert all(0 <= done <= total for _, done, total in seen)
    assert next(done for phase, done, _ in seen if phase == "Building engine") == 0
