"""The TensorRT backends over an in-memory CUDA: parity, state, threads, no work per step."""

from __future__ import annotations

import gc
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_ser.cli import main
from edge_ser.engines.cache import store_engine
from edge_ser.errors import BackendError, UsageError
from edge_ser.pack import Pack
from edge_ser.runtime import Recognizer
from edge_ser.runtime.backends import load_engine
from edge_ser.runtime.backends.trt import TrtEngine
from edge_ser.runtime.parity import compare_engines

from . import cuda_double
from .engine_files import KIOSK, ORIN, plan_of, sidecar_of


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> cuda_double.Gpu:
    return cuda_double.install(monkeypatch, ORIN, "tensorrt", "10.3.0")


@pytest.fixture
def engine(gpu: cuda_double.Gpu, pack: Pack, stored: Path) -> TrtEngine:
    return TrtEngine.load(pack, "tensorrt", engine=stored)


def frames(n: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal((64, 8)) * 3 - 6).astype(np.float32) for _ in range(n)]


def logits_of(stream: Any, mels: list[np.ndarray]) -> np.ndarray:
    found = []
    for mel in mels:
        stream.mel[0] = mel
        found.append(stream.step()[0].copy())
    return np.stack(found)


def test_gives_what_onnxruntime_gives_on_the_same_model(engine: TrtEngine, pack: Pack) -> None:
    reference = load_engine(pack, "onnxruntime", precision="int8")
    parity = compare_engines(pack.manifest, reference, engine)
    assert parity.steps == 100
    assert parity.step_agreement == 1.0
    assert parity.worst_score_error < 1e-6


def test_a_swapped_state_would_be_seen(engine: TrtEngine) -> None:
    """The state matters: the same frame twice gives different scores."""
    stream = engine.stream()
    mel = frames(1)[0]
    first, second = logits_of(stream, [mel, mel])
    assert np.abs(first - second).max() > 1e-6


def test_reset_starts_anew_at_either_parity(engine: TrtEngine) -> None:
    stream = engine.stream()
    mels = frames(5)
    first = logits_of(stream, mels)
    stream.reset()
    assert np.array_equal(logits_of(stream, mels), first)
    stream.reset()
    assert np.array_equal(logits_of(stream, mels[:4]), first[:4])
    stream.reset()
    assert np.array_equal(logits_of(stream, mels), first)


def test_streams_do_not_touch_each_other(engine: TrtEngine) -> None:
    alone = logits_of(engine.stream(), frames(6))
    a, b = engine.stream(), engine.stream()
    mixed = []
    for one, other in zip(frames(6), frames(6, seed=9), strict=True):
        mixed.append(logits_of(a, [one])[0])
        logits_of(b, [other])
    assert np.array_equal(np.stack(mixed), alone)


def test_a_step_is_one_launch_and_one_wait(engine: TrtEngine, gpu: cuda_double.Gpu) -> None:
    stream = engine.stream()
    gpu.calls.clear()
    logits_of(stream, frames(50))
    switch = ["cuCtxPushCurrent_v2", "cuCtxPopCurrent_v2"]
    step = ["cuCtxGetCurrent", "cuGraphLaunch", "cuStreamSynchronize"]
    assert gpu.calls == [step[0], switch[0], *step[1:], switch[1]] * 50
    gpu.calls.clear()
    gpu.stack.append(cuda_double.HANDLE)  # a thread that has the GPU current switches nothing
    logits_of(stream, frames(50))
    gpu.stack.clear()
    assert gpu.calls == step * 50


def test_logits_and_mel_stay_where_they_are(engine: TrtEngine) -> None:
    stream = engine.stream()
    mel, first = stream.mel, stream.step()
    stream.step()
    assert stream.mel is mel
    assert stream.step() is first


def test_any_thread_may_own_a_stream(engine: TrtEngine) -> None:
    expected = logits_of(engine.stream(), frames(4))
    found: list[np.ndarray] = []

    def work() -> None:
        stream = engine.stream()
        found.append(logits_of(stream, frames(4)))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert all(np.array_equal(item, expected) for item in found)


def test_another_context_of_the_thread_is_put_back(engine: TrtEngine, gpu: cuda_double.Gpu) -> None:
    stream = engine.stream()
    gpu.stack.append(7)  # another library's
    stream.step()
    assert gpu.stack == [7]
    gpu.stack.clear()
    stream.step()
    assert gpu.stack == []


def test_without_graphs_the_scores_are_the_same(
    engine: TrtEngine, gpu: cuda_double.Gpu, caplog: pytest.LogCaptureFixture
) -> None:
    expected = logits_of(engine.stream(), frames(6))
    gpu.can_capture = False
    stream = engine.stream()
    assert "no CUDA graph" in caplog.text
    gpu.calls.clear()
    assert np.array_equal(logits_of(stream, frames(6)), expected)
    assert "execute_async_v3" in gpu.calls
    assert "cuGraphLaunch" not in gpu.calls


def test_memory_is_given_back(engine: TrtEngine, gpu: cuda_double.Gpu) -> None:
    before = sum(1 for a in gpu.memory.values() if a.nbytes > 10_000)
    stream = engine.stream()
    assert sum(1 for a in gpu.memory.values() if a.nbytes > 10_000) == before + 3
    del stream
    gc.collect()
    assert sum(1 for a in gpu.memory.values() if a.nbytes > 10_000) == before


def test_nothing_leaks_in_whatever_thread_a_stream_ends(
    engine: TrtEngine, gpu: cuda_double.Gpu
) -> None:
    streams = [engine.stream()]
    streams[0].step()
    ender = threading.Thread(target=streams.clear)
    ender.start()
    ender.join()
    assert gpu.leaked == []
    graphs = [
        gpu.calls.count(name) for name in ("cuGraphInstantiateWithFlags", "cuGraphExecDestroy")
    ]
    assert graphs == [2, 2]


def test_a_stream_that_is_never_finished_leaks_nothing(
    engine: TrtEngine, gpu: cuda_double.Gpu
) -> None:
    before = len(gpu.memory)
    gpu.fails.add("execute_async_v3")
    with pytest.raises(BackendError):
        engine.stream()
    gpu.fails.clear()
    gc.collect()
    assert gpu.leaked == []
    assert len(gpu.memory) == before + 2  # the double keeps mapped memory


def test_graphs_are_launched_once_before_the_first_step(
    engine: TrtEngine, gpu: cuda_double.Gpu
) -> None:
    """The first launch uploads a graph, which no step should pay for."""
    gpu.calls.clear()
    engine.stream()
    assert gpu.calls.count("cuGraphLaunch") == 2


def test_a_capture_that_fails_midway_leaves_no_graph(
    engine: TrtEngine, gpu: cuda_double.Gpu, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.calls.clear()
    gpu.fails.add("cuGraphInstantiateWithFlags")
    stream = engine.stream()
    assert "no CUDA graph" in caplog.text
    assert gpu.calls.count("cuGraphDestroy") == gpu.calls.count("cuStreamEndCapture") == 1
    stream.step()


def test_a_step_that_fails_says_so(engine: TrtEngine, gpu: cuda_double.Gpu) -> None:
    stream = engine.stream()
    gpu.fails.add("cuGraphLaunch")
    with pytest.raises(BackendError, match="CUDA error 700 while launching a step: an illegal"):
        stream.step()
    gpu.fails = {"cuStreamSynchronize"}
    with pytest.raises(BackendError, match="waiting for a step"):
        stream.step()
    gpu.fails = {"execute_async_v3"}
    with pytest.raises(BackendError, match="TensorRT refused a step"):
        engine.stream()


def test_no_memory_for_another_stream(engine: TrtEngine, gpu: cuda_double.Gpu) -> None:
    gpu.free_bytes = 100
    with pytest.raises(BackendError, match="no memory left for another stream"):
        engine.stream()


def test_layer_profile(engine: TrtEngine) -> None:
    assert engine.profile(5) == [("conv", 0.25), ("gemm", 0.5)]


def test_layers_land_in_the_trace_of_a_run(
    gpu: cuda_double.Gpu, pack: Pack, stored: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.json"
    words = ["run", "demo", "--jsonl", "--pack", str(pack.path), "--trace", str(trace)]
    assert main([*words, "--trace-nodes", "--backend", "tensorrt", "--engine", str(stored)]) == 0
    events = json.loads(trace.read_text())["traceEvents"]
    infer = [event for event in events if event["name"] == "infer"]
    layers = [event for event in events if event.get("cat") == "node/layer"]
    assert [event["name"] for event in layers] == ["conv", "gemm"] * len(infer)
    assert {event["dur"] for event in layers[::2]} == {250.0}
    for step, conv, gemm in zip(infer, layers[::2], layers[1::2], strict=True):
        assert step["ts"] <= conv["ts"] <= step["ts"] + step["dur"]
        assert gemm["ts"] == pytest.approx(conv["ts"] + conv["dur"])
    tracks = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert tracks[layers[0]["tid"]].startswith("tensorrt layers")
    assert "cuGraphLaunch" not in gpu.calls, "a graph hides its layers"
    assert list(tmp_path.glob(".*")) == []


def test_layers_are_timed_only_when_asked_for_and_told_once(engine: TrtEngine) -> None:
    engine.stream().step()
    assert list(engine.node_events()) == []


def test_timed_layers_change_no_score(gpu: cuda_double.Gpu, pack: Pack, stored: Path) -> None:
    plain = TrtEngine.load(pack, "tensorrt", engine=stored)
    timed = TrtEngine.load(pack, "tensorrt", engine=stored, layers=True)
    expected = logits_of(plain.stream(), frames(6))
    assert np.array_equal(logits_of(timed.stream(), frames(6)), expected)
    assert sum(event["ph"] == "X" for event in timed.node_events()) == 12
    assert list(timed.node_events()) == []


def test_layer_times_take_no_more_memory_than_they_may(
    gpu: cuda_double.Gpu,
    pack: Pack,
    stored: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("edge_ser.runtime.backends.trt_layers._MOST", 20)
    engine = TrtEngine.load(pack, "tensorrt", engine=stored, layers=True)
    logits_of(engine.stream(), frames(30))
    assert sum(event["ph"] == "X" for event in engine.node_events()) == 20
    assert caplog.text.count("later ones are left out") == 1


def test_an_engine_with_other_tensors_is_refused(
    gpu: cuda_double.Gpu, pack: Pack, tmp_path: Path
) -> None:
    """The sidecar may lie; the engine's own tensors are looked at too."""
    engine = tmp_path / "tiny-x.engine"
    content = plan_of(pack.read("float.onnx"))
    store_engine(engine, content, sidecar_of(pack, content))
    with pytest.raises(BackendError, match="is not what the pack says: tensor"):
        TrtEngine.load(pack, "tensorrt", engine=engine)


def test_rtx_makes_its_own_graph(
    monkeypatch: pytest.MonkeyPatch, pack: Pack, tmp_path: Path
) -> None:
    gpu = cuda_double.install(monkeypatch, KIOSK, "tensorrt-rtx", "1.7.1.116")
    path = tmp_path / "tiny-rtx.engine"
    content = plan_of(pack.read("tensorrt.onnx"), "tensorrt-rtx")
    sidecar = sidecar_of(
        pack, content, backend="tensorrt-rtx", version="1.7.1.116", gpu=None, l4t=None,
        compute_capabilities=("8.6", "8.9"),
    )  # fmt: skip
    store_engine(path, content, sidecar)
    engine = TrtEngine.load(pack, "tensorrt-rtx", engine=path)
    stream = engine.stream()
    assert [c.cuda_graph_strategy for c in engine._engine.configs] == ["whole", "whole"]
    engine.profile(1)  # a profiler and a graph exclude each other
    assert [c.cuda_graph_strategy for c in engine._engine.configs][2:] == [None, None]
    gpu.calls.clear()
    parity = compare_engines(
        pack.manifest, load_engine(pack, "onnxruntime", precision="int8"), engine
    )
    assert parity.worst_score_error < 1e-6
    assert "cuStreamBeginCapture_v2" not in gpu.calls
    stream.step()


def test_recognizer_runs_on_it_and_events_say_so(
    gpu: cuda_double.Gpu, pack: Pack, stored: Path
) -> None:
    recognizer = Recognizer.open(
        pack.path, backend="tensorrt", engine=stored, require_backend="tensorrt"
    )
    with recognizer.stream() as stream:
        events = stream.push(np.zeros(16000, np.float32))
    assert {event.backend for event in events} == {"tensorrt"}
    assert events[-1].precision == "int8"


def test_an_engine_file_needs_a_tensorrt_backend(pack: Pack, stored: Path) -> None:
    with pytest.raises(UsageError, match="needs --backend tensorrt"):
        load_engine(pack, "auto", engine=stored)
