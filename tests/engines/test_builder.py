"""How TensorRT 8.6, 10.3 and 11.4 are asked to build, on doubles with their names only.

The doubles lack what the version lacks, so that asking for it fails as it would there.
"""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx", reason="builds need onnx")

from edge_ser.converters.engine.builder import Plan, build_plan
from edge_ser.converters.engine.settings import BuildSettings
from edge_ser.engines import Bindings
from edge_ser.errors import BackendError

LAYERS = json.dumps({"Layers": [{"Name": "conv", "LayerType": "conv"}]})


class Double:
    """A TensorRT of one generation; ``asked`` is what was set, ``says`` what it complains of."""

    def __init__(self, version: str) -> None:
        self.version = version
        major = int(version.split(".")[0])
        self.asked: dict[str, Any] = {"flags": [], "pools": {}}
        self.complaint: str | None = None
        self.parser_error: Any = None
        self.cache_fits = True
        self.steps: list[Any] = []
        self.trt = self._module(major)

    def _module(self, major: int) -> types.SimpleNamespace:
        double = self
        names = types.SimpleNamespace

        class Logger:
            ERROR, INTERNAL_ERROR, WARNING, INFO, VERBOSE = range(5)

        class Monitor:
            pass

        class Cache:
            def __init__(self, content: bytes) -> None:
                self.content = content

            def serialize(self) -> bytes:
                return self.content + b"+"

        class Config:
            builder_optimization_level = 3
            profiling_verbosity: Any = None

            def set_memory_pool_limit(self, pool: str, size: int) -> None:
                double.asked["pools"][pool] = size

            def set_flag(self, flag: str) -> None:
                double.asked["flags"].append(flag)

            def create_timing_cache(self, content: bytes) -> Cache:
                return Cache(content)

            def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
                assert ignore_mismatch is False
                double.asked["cache"] = cache
                return double.cache_fits

            def get_timing_cache(self) -> Cache:
                return double.asked["cache"]  # type: ignore[no-any-return]

        if major >= 10:
            Config.progress_monitor = None  # type: ignore[attr-defined]

        class Parser:
            def __init__(self, network: Any, logger: Any) -> None:
                self.num_errors = 0 if double.parser_error is None else 1

            def parse(self, content: bytes) -> bool:
                return self.num_errors == 0

            def get_error(self, index: int) -> Any:
                return double.parser_error

        tensor = names(name="mel", dtype="f32", shape=(1, 64, 8))

        class Builder:
            def __init__(self, logger: Any) -> None:
                self.logger = logger

            def create_network(self, flags: int) -> Any:
                double.asked["network"] = flags
                return names(num_inputs=1, num_outputs=0, get_input=lambda index: tensor)

            def create_builder_config(self) -> Config:
                self.config = Config()
                return self.config

            def build_serialized_network(self, network: Any, config: Config) -> Any:
                double.asked["config"] = config
                monitor = getattr(config, "progress_monitor", None)
                if monitor is not None:
                    monitor.phase_start("Building", None, 2)
                    assert monitor.step_complete("Building", 0)
                    monitor.phase_finish("Building")
                if double.complaint is not None:
                    self.logger.log(Logger.ERROR, double.complaint)
                    return None
                return b"plan"

        inspector = names(get_engine_information=lambda form: LAYERS)
        engine = names(create_engine_inspector=lambda: inspector)
        flags = {"EXPLICIT_BATCH": 0} if major < 11 else {}
        if major >= 10:
            flags["STRONGLY_TYPED"] = 1
        return names(
            ILogger=Logger, Builder=Builder, OnnxParser=Parser,
            **({"IProgressMonitor": Monitor} if major >= 10 else {}),
            NetworkDefinitionCreationFlag=names(**flags),
            BuilderFlag=names(**({"INT8": "INT8", "FP16": "FP16"} if major < 11 else {})),
            ProfilingVerbosity=names(DETAILED="detailed"),
            MemoryPoolType=names(WORKSPACE="workspace", TACTIC_DRAM="dram"),
            LayerInformationFormat=names(JSON="json"),
            Runtime=lambda logger: names(deserialize_cuda_engine=lambda content: engine),
            float32="f32", float16="f16", int8="i8", int32="i32",
        )  # fmt: skip

    def build(self, **changes: Any) -> Plan:
        values: dict[str, Any] = {"compute_capabilities": ("8.7",), "int8": True, "half": True}
        settings = BuildSettings(**{**values, **changes})
        bindings = Bindings("tensorrt", self.trt, self.version)
        return build_plan(bindings, b"onnx", settings, lambda *step: self.steps.append(step))


def test_tensorrt_8_is_weakly_typed_and_gets_flags() -> None:
    double = Double("8.6.2")
    plan = double.build(memory_mb=512, optimization_level=2)
    assert double.asked["network"] == 1  # explicit batch
    assert double.asked["flags"] == ["INT8", "FP16"]
    assert double.asked["pools"] == {"workspace": 256 << 20, "dram": 512 << 20}
    assert double.asked["config"].builder_optimization_level == 2
    assert double.asked["config"].profiling_verbosity == "detailed"
    assert double.steps == []  # it has no progress monitor
    assert plan.content == b"plan"
    assert plan.layers == LAYERS
    assert plan.tensors[0].dtype == "float32"


def test_flags_are_those_of_the_form() -> None:
    double = Double("8.6.2")
    double.build(half=False)
    assert double.asked["flags"] == ["INT8"]
    double.asked["flags"].clear()
    double.build(int8=False, half=False)
    assert double.asked["flags"] == []


@pytest.mark.parametrize(("version", "network"), [("10.3.0", 3), ("11.4.0", 2)])
def test_later_ones_are_strongly_typed_and_tell_their_progress(version: str, network: int) -> None:
    double = Double(version)
    double.build()
    assert double.asked["network"] == network
    assert double.asked["flags"] == []
    assert double.steps == [("Building", 0, 2), ("Building", 1, 2), ("Building", 2, 2)]


def test_the_timing_cache_is_read_and_kept(tmp_path: Path) -> None:
    cache = tmp_path / "timings"
    double = Double("10.3.0")
    double.build(timing_cache=str(cache))
    assert cache.read_bytes() == b"+"
    double.build(timing_cache=str(cache))
    assert cache.read_bytes() == b"++"
    double.cache_fits = False
    with pytest.raises(BackendError, match="is of another TensorRT or GPU; delete it"):
        double.build(timing_cache=str(cache))


@pytest.mark.parametrize(
    ("complaint", "message"),
    [
        ("Error Code 10: Could not find any implementation for node x", "raise --workspace-mb"),
        ("Tactic Device request: 538MB Available: 166MB. Device memory is insufficient to use "
         "tactic.", "the GPU ran out of memory"),
        ("(cudaError 35: CUDA driver version is insufficient)", "no usable NVIDIA driver"),
        ("something new", "cannot build the engine: TensorRT: something new"),
    ],
)  # fmt: skip
def test_a_refusal_is_explained(complaint: str, message: str) -> None:
    double = Double("10.3.0")
    double.complaint = complaint
    with pytest.raises(BackendError, match=message):
        double.build()


def test_the_parser_names_the_node() -> None:
    new, old = Double("10.3.0"), Double("8.6.2")
    new.parser_error = types.SimpleNamespace(
        node_name=lambda: "gate", node_operator=lambda: "Gelu", desc=lambda: "no importer"
    )
    with pytest.raises(BackendError, match=r"refuses node 'gate' \(Gelu\): no importer"):
        new.build()
    old.parser_error = types.SimpleNamespace(node=lambda: 12, desc=lambda: "no importer")
    with pytest.raises(BackendError, match="refuses node 12: no importer"):
        old.build()
