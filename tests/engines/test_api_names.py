"""Every TensorRT name that the code uses, against the names of the real bindings.

``api_names.json`` was read from the wheels of 8.6.1, 10.0.1, 10.3.0, 10.13.3, 11.4.0 and of
TensorRT for RTX by ``read_api.py``. A name that one of them lacks must stand in a function that
asks for it with ``hasattr`` (or ``getattr`` with a default), or behind a question for the product.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    "converters/engine/builder.py",
    "edge_ser/engines/log.py",
    "edge_ser/engines/product.py",
    "runtime/backends/trt.py",
    "runtime/backends/trt_stream.py",
)
CLASSES = {
    "trt": "",
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "error": "ParserError",
    "config": "IBuilderConfig",
    "runtime_config": "IRuntimeConfig",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "loaded": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
    "tensor": "ITensor",
    "names": "NetworkDefinitionCreationFlag",
}
"""What a variable of this name is in these files."""

RTX_ONLY = {"cuda_graph_strategy", "CudaGraphStrategy", "ComputeCapability",
            "num_compute_capabilities", "set_compute_capability"}  # fmt: skip
OWN = {
    "engine": {"with_name", "name"},  # a path in product-free code
    "error": {"strerror"},
    "tensor": {"name", "mode"},
    "runtime": set(),
    "config": set(),
}
API = json.loads((Path(__file__).parent / "api_names.json").read_text())


def chains(tree: ast.AST) -> list[tuple[str, str, set[str], int]]:
    """``(class, name, guarded names, line)`` of every attribute of a TensorRT object."""
    found = []
    outer = list(getattr(tree, "body", []))
    outer += [item for node in outer if isinstance(node, ast.ClassDef) for item in node.body]
    for scope in (node for node in outer if isinstance(node, ast.FunctionDef)):
        guarded = {
            call.args[1].value
            for call in ast.walk(scope)
            if isinstance(call, ast.Call)
            and isinstance(call.func, ast.Name)
            and call.func.id in ("hasattr", "getattr")
            and len(call.args) > 1 + (call.func.id == "getattr")
            and isinstance(call.args[1], ast.Constant)
        }
        for node in ast.walk(scope):
            if not isinstance(node, ast.Attribute):
                continue
            owner = owner_of(node.value)
            if owner is not None and owner in CLASSES:
                found.append((CLASSES[owner], node.attr, guarded, node.lineno))
            elif (
                isinstance(node.value, ast.Attribute) and owner_of(node.value.value) == "trt"
            ):  # trt.MemoryPoolType.WORKSPACE
                found.append((node.value.attr, node.attr, guarded, node.lineno))
    return found


def owner_of(node: ast.AST) -> str | None:
    """The word before the dot: ``engine`` of ``engine.x``, ``self._engine.x``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr.lstrip("_")
    return None


def missing(source: str, version: str) -> list[str]:
    """Names in ``source`` that ``version`` lacks and nobody asked for."""
    api, everywhere = API[version], set().union(*(set(n) for v in API.values() for n in v.values()))
    gone = []
    for kind, name, guarded, line in chains(ast.parse(source)):
        if name in guarded or name.startswith("_"):
            continue
        if name in RTX_ONLY and not version.startswith("tensorrt-rtx"):
            continue
        if kind and kind not in api:
            if kind in everywhere and kind not in RTX_ONLY | guarded:
                gone.append(f"{kind} (line {line})")
            continue
        if name not in api[kind]:
            gone.append(f"{kind or 'tensorrt'}.{name} (line {line})")
    return gone


def tensorrt_part(path: str) -> str:
    """Source without the attributes of our own objects that share a name with TensorRT's."""
    tree = ast.parse((ROOT / path).read_text())

    class Own(ast.NodeTransformer):
        def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
            self.generic_visit(node)
            if node.attr in OWN.get(owner_of(node.value) or "", ()):
                return ast.Name("own", ast.Load())
            return node

    return ast.unparse(ast.fix_missing_locations(Own().visit(tree)))


@pytest.mark.parametrize("version", sorted(API))
@pytest.mark.parametrize("path", SOURCES)
def test_every_name_is_there(path: str, version: str) -> None:
    assert missing(tensorrt_part(path), version) == []


def test_five_generations_are_covered() -> None:
    versions = sorted(version.split()[1].rsplit(".", 1)[0] for version in API)
    assert [v for v in versions if v.startswith("8.6")]
    assert [v for v in versions if v.startswith("10.")]
    assert [v for v in versions if v.startswith("11.4")]
    assert len(API) == 6


@pytest.mark.parametrize(
    ("code", "version", "gone"),
    [
        ("def f(engine): engine.num_bindings", "tensorrt 10.3.0", "ICudaEngine.num_bindings"),
        ("def f(trt, config): config.set_flag(trt.BuilderFlag.INT8)", "tensorrt 11.4.0.106",
         "BuilderFlag.INT8"),
        ("def f(trt): trt.IProgressMonitor", "tensorrt 8.6.1", "tensorrt.IProgressMonitor"),
        ("def f(config): config.max_workspace_size = 1", "tensorrt 10.0.1",
         "IBuilderConfig.max_workspace_size"),
        ("def f(context): context.execute_async_v33", "tensorrt 10.13.3.9",
         "IExecutionContext.execute_async_v33"),
        ("def f(self): self._engine.get_binding_name(0)", "tensorrt 11.4.0.106",
         "ICudaEngine.get_binding_name"),
    ],
)  # fmt: skip
def test_a_name_that_one_lacks_is_found(code: str, version: str, gone: str) -> None:
    assert [item.split(" (")[0] for item in missing(code, version)] == [gone]


def test_a_question_before_makes_it_right() -> None:
    code = "def f(trt):\n    if hasattr(trt, 'IProgressMonitor'):\n        trt.IProgressMonitor"
    assert missing(code, "tensorrt 8.6.1") == []
