"""On an NVIDIA GPU: build, load, run, graph capture, parity, latency.

``python -m pytest tests/gpu -m gpu --gpu-report gpu.json [--gpu-backend tensorrt-rtx]``
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_ser.engines import find_host
from edge_ser.pack import Pack, bundled_packs, open_pack

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not find_host().has_gpu, reason=f"NO GPU, NOTHING WAS TESTED: {find_host().problem}"
    ),
]


@pytest.fixture(scope="module")
def model() -> Pack:
    if "EDGE_SER_GPU_PACK" in os.environ:
        return open_pack(os.environ["EDGE_SER_GPU_PACK"])
    if not bundled_packs():
        pytest.skip("NO PACK: set EDGE_SER_GPU_PACK to one converted with --targets tensorrt,float")
    return open_pack()


@pytest.fixture(scope="module")
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--gpu-backend"))


@pytest.fixture(scope="module", params=["mixed", "fp16", "int8"])
def built(
    request: pytest.FixtureRequest, model: Pack, backend: str, tmp_path_factory: Any
) -> dict[str, Any]:
    cache = tmp_path_factory.mktemp("engines")
    done = subprocess.run(
        [sys.executable, "-m", "edge_ser", "build", str(model.path), "--backend", backend,
         "--precision", request.param, "--cache", str(cache), "--json"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def load(model: Pack, backend: str, built: dict[str, Any]) -> Any:
    from edge_ser.runtime.backends import load_engine

    return load_engine(model, backend, engine=Path(built["engine"]))


def test_build(built: dict[str, Any], numbers: dict[str, Any]) -> None:
    numbers.update({key: built[key] for key in ("precision", "base", "bytes", "seconds")})
    numbers.update({key: built[key] for key in ("layers", "int8_layers", "int8_share")})
    assert built["bytes"] > 0


def test_parity(model: Pack, backend: str, built: dict[str, Any], numbers: dict[str, Any]) -> None:
    from edge_ser.runtime.backends import load_engine
    from edge_ser.runtime.parity import clips_of, compare_engines

    reference = load_engine(model, "onnxruntime", precision="fp32")
    parity = compare_engines(
        model.manifest, reference, load(model, backend, built), clips_of(model)
    )
    numbers.update(parity.to_dict())
    assert parity.agreement >= 0.95


def test_graph_capture(
    model: Pack, backend: str, built: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    stream = load(model, backend, built).stream()
    assert "no CUDA graph" not in caplog.text
    first = [stream.step().copy() for _ in range(5)]
    stream.reset()
    assert all((a == stream.step()).all() for a in first)


def test_latency(model: Pack, backend: str, built: dict[str, Any], numbers: dict[str, Any]) -> None:
    from edge_ser.runtime.parity import time_engine

    p50, p99 = time_engine(model.manifest, load(model, backend, built))
    numbers.update({"precision": built["precision"], "base": built["base"]})
    numbers.update({"p50_ms": p50, "p99_ms": p99})
    assert 0 < p50 <= p99


def test_layer_profile(
    model: Pack, backend: str, built: dict[str, Any], numbers: dict[str, Any]
) -> None:
    layers = load(model, backend, built).profile(50)
    numbers["layers"] = layers
    assert layers
