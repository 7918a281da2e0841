"""On an NVIDIA GPU: build, load, run, graph capture, parity, latency.

``python -m pytest tests/gpu -m gpu --gpu-report gpu.json [--gpu-backend tensorrt-rtx]``
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from edge_ser.cli import main
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


@pytest.fixture(scope="module", params=["mixed", "fp16", "int8", "fp32"])
def built(
    request: pytest.FixtureRequest, model: Pack, backend: str, tmp_path_factory: Any
) -> dict[str, Any]:
    cache = tmp_path_factory.mktemp("engines")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        status = main(
            ["build", str(model.path), "--backend", backend, "--precision", request.param,
             "--cache", str(cache), "--json"]
        )  # fmt: skip
    assert status == 0, "the reason is in the captured log"
    return json.loads(said.getvalue())  # type: ignore[no-any-return]


def load(model: Pack, backend: str, built: dict[str, Any]) -> Any:
    from edge_ser.runtime.backends import load_engine

    return load_engine(model, backend, engine=Path(built["engine"]))


def test_build(built: dict[str, Any], numbers: dict[str, Any]) -> None:
    numbers.update({key: built[key] for key in ("precision", "base", "bytes", "seconds")})
    numbers.update({key: built[key] for key in ("layers", "int8_layers", "int8_share")})
    assert built["bytes"] > 0


def test_parity(model: Pack, backend: str, built: dict[str, Any], numbers: dict[str, Any]) -> None:
    """On the pack's golden frames and the bundled sample, held to the gates of every form."""
    from edge_ser.parity import Gates, missed_gates
    from edge_ser.runtime.backends import load_engine
    from edge_ser.runtime.parity import clips_of, compare_engines

    has_float = any(target.precision == "fp32" for target in model.manifest.targets.values())
    reference = load_engine(model, "onnxruntime", precision="fp32" if has_float else "auto")
    parity = compare_engines(
        model.manifest, reference, load(model, backend, built), clips_of(model)
    )
    numbers.update(parity.to_dict())
    assert missed_gates(built["precision"], parity, Gates()) == []


def test_run(model: Pack, backend: str, built: dict[str, Any], numbers: dict[str, Any]) -> None:
    """Samples in, events out, and the events say who made them."""
    import numpy as np

    from edge_ser.audio import load_mono
    from edge_ser.runtime import Recognizer
    from edge_ser.runtime.sources import DEMO

    recognizer = Recognizer.open(
        model.path, backend=backend, engine=Path(built["engine"]), require_backend=backend
    )
    with recognizer.stream() as stream:
        events = list(stream.push(load_mono(DEMO, model.manifest.frontend.rate_hz)))
    assert {event.backend for event in events} == {backend}
    infer = [event.latency_ms.infer for event in events]
    numbers.update({"events": len(events), "infer_p50_ms": float(np.median(infer))})


def test_graph_capture(
    model: Pack, backend: str, built: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    stream = load(model, backend, built).stream()
    assert "no CUDA graph" not in caplog.text
    first = [stream.step().copy() for _ in range(5)]
    stream.reset()
    assert all((a == stream.step()).all() for a in first)


def test_auto(model: Pack, backend: str, tmp_path: Path, numbers: dict[str, Any]) -> None:
    """Every form is built, compared and timed, and the fastest that agrees is kept."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        status = main(
            ["build", str(model.path), "--backend", backend, "--cache", str(tmp_path), "--json"]
        )
    assert status == 0
    report = json.loads(said.getvalue())
    numbers.update({"precision": report["precision"], "base": report["base"]})
    numbers["trials"] = report["trials"]
    assert report["note"] is None


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
