"""The tests for a GPU: without one they skip aloud, on the double every one of them passes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_ser.engines import find_host
from edge_ser.pack import Pack

ROOT = Path(__file__).resolve().parents[2]


def run(tmp_path: Path, *flags: str, **environment: str) -> tuple[str, Any]:
    report = tmp_path / "gpu.json"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(ROOT / "tests" / "gpu"), "-m", "gpu",
         "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider",
         "--gpu-report", str(report), *flags],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return done.stdout, json.loads(report.read_text())


@pytest.mark.skipif(find_host().has_gpu, reason="this machine has a GPU")
def test_without_a_gpu_they_skip_aloud(tmp_path: Path) -> None:
    said, report = run(tmp_path)
    assert "NO GPU, NOTHING WAS TESTED: no usable NVIDIA driver" in said
    assert set(report["summary"]) == {"skipped"}
    assert report["host"]["gpu"] is None
    assert all("NO GPU" in test["reason"] for test in report["tests"].values())


@pytest.mark.slow
def test_on_the_double_they_pass_and_write_their_numbers(tmp_path: Path, pack: Pack) -> None:
    pytest.importorskip("tensorrt_rtx", reason="NO ENGINE WAS BUILT: pip install 'edge-ser[rtx]'")
    _, report = run(
        tmp_path, "-p", "engines.gpu_on_double", "--gpu-backend", "tensorrt-rtx",
        EDGE_SER_GPU_PACK=str(pack.path), PYTHONPATH=str(ROOT / "tests"),
    )  # fmt: skip
    assert set(report["summary"]) == {"passed"}
    assert report["host"]["gpu"] == "no GPU, a double in memory"
    tests = report["tests"]
    for precision in ("mixed", "fp16", "int8", "fp32"):
        assert tests[f"test_build[{precision}]"]["bytes"] > 0
        assert tests[f"test_latency[{precision}]"]["p50_ms"] > 0
        assert tests[f"test_parity[{precision}]"]["step_agreement"] > 0.9
        assert tests[f"test_run[{precision}]"]["events"] > 0
    assert len(tests["test_auto"]["trials"]) == 4
