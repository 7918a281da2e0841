"""The code that calls TensorRT, type-checked against ``tensorrt-stubs`` (10.13).

The product takes the bindings as ``Any``, because five generations of them pass through the same
lines. Here copies of these files get the types of the stubs instead: ``trt`` is the module, and a
variable is of the class that :data:`~.test_api_names.CLASSES` gives its name. What only other
versions have is not in the stubs and is told apart by name.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .test_api_names import CLASSES, ROOT, RTX_ONLY, SOURCES

pytest.importorskip("mypy", reason="NOT TYPE-CHECKED: pip install mypy")
pytest.importorskip(
    "tensorrt_stubs", reason="NOT TYPE-CHECKED: pip install --no-deps tensorrt-stubs"
)

ELSEWHERE = RTX_ONLY | {"create_runtime_config"}
"""Names that 10.13 lacks in the stubs; ``test_api_names`` holds them to the versions that have them."""
TYPES = {name: kind for name, kind in CLASSES.items() if kind and name not in ("names", "tensor")}


class WithTypes(ast.NodeTransformer):
    """Puts the stubs' types where the source says ``Any`` or nothing."""

    def visit_Module(self, node: ast.Module) -> ast.Module:
        self.generic_visit(node)
        after = 1 + max(
            i for i, item in enumerate(node.body[:4])
            if isinstance(item, ast.ImportFrom | ast.Expr)
        )  # fmt: skip
        node.body.insert(after, ast.parse("import tensorrt as trt").body[0])
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        if node.arg == "trt":  # the module itself, which no annotation can name
            node.arg = "own_trt"
        elif node.arg in TYPES and is_any(node.annotation):
            node.annotation = ast.parse(f"trt.{TYPES[node.arg]}", mode="eval").body
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """``trt = bindings.trt``, also as part of a tuple, would hide the module."""
        self.generic_visit(node)
        target = node.targets[0]
        if isinstance(target, ast.Name) and target.id == "trt":
            return ast.Pass()
        if isinstance(target, ast.Tuple):
            for item in target.elts:
                if isinstance(item, ast.Name) and item.id == "trt":
                    item.id = "own_trt"
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """``bindings.trt.Runtime`` is ``trt.Runtime``; ``self._engine`` has a type as well."""
        self.generic_visit(node)
        if isinstance(node.value, ast.Attribute) and node.value.attr == "trt":
            node.value = ast.Name("trt", ast.Load())
        return node


def is_any(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Name) and node.id == "Any"


SLIPS = {
    "in: list[": "in_: list[",  # a word of the language as a parameter
    "power: Weights = None, channel_axis: int)": "power: Weights = None, channel_axis: int = 0)",
    "class Dims:\n": "class Dims:\n    def __iter__(self) -> typing.Iterator[int]: ...\n",
}
"""Two lines of the published stubs that are no Python, in methods that nobody calls here; and
``Dims``, which is read by index and so can be iterated, though the stubs do not say it."""


def stubs(folder: Path) -> None:
    """The installed stubs where mypy takes them: they lack the marker of typed packages."""
    for name in ("tensorrt", "tensorrt_bindings"):
        base = next(b for b in map(Path, sys.path) if (b / name / "__init__.pyi").is_file())
        shutil.copytree(base / name, folder / name, dirs_exist_ok=True)
    path = folder / "tensorrt_bindings" / "tensorrt.pyi"
    text = path.read_text()
    for wrong, right in SLIPS.items():
        text = text.replace(wrong, right)
    # The data type trt.bool hides Python's own in every signature behind it.
    text = "import builtins\n" + re.sub(r"(-> |: )bool\b", r"\1builtins.bool", text)
    text = text.replace("from __future__ import annotations\n", "")
    path.write_text("from __future__ import annotations\n" + text)


WRONG = """
from __future__ import annotations
from typing import Any

def f(bindings: Any, config: Any, context: Any) -> None:
    trt = bindings.trt
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE)
    context.set_tensor_address(7, 'mel')
    config.max_workspace_size = 1
    bindings.trt.Runtime(logger=None, threads=2)
"""


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What mypy says about each source once it has the stubs' types; ``wrong`` is :data:`WRONG`."""
    folder = tmp_path_factory.mktemp("typed")
    stubs(folder)
    sources = {path: (ROOT / path).read_text() for path in SOURCES} | {"wrong": WRONG}
    for index, source in enumerate(sources.values()):
        tree = ast.fix_missing_locations(WithTypes().visit(ast.parse(source)))
        (folder / f"checked{index}.py").write_text(ast.unparse(tree))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--follow-imports=silent", "--ignore-missing-imports",
         "--check-untyped-defs", "--no-error-summary", "--cache-dir=/dev/null",
         *(f"checked{index}.py" for index in range(len(sources)))],
        capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout[-2000:] + done.stderr
    found: dict[str, list[str]] = {path: [] for path in sources}
    for line in done.stdout.splitlines():
        for index, path in enumerate(sources):
            elsewhere = any(f'"{name}"' in line for name in ELSEWHERE)
            if line.startswith(f"checked{index}.py") and ": error: " in line and not elsewhere:
                found[path].append(line)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("path", SOURCES)
def test_calls_fit_the_stubs(path: str, complaints: dict[str, list[str]]) -> None:
    assert complaints[path] == []


@pytest.mark.slow
def test_a_wrong_call_is_found(complaints: dict[str, list[str]]) -> None:
    found = "\n".join(complaints["wrong"])
    for word in ("pool_size", "set_tensor_address", "max_workspace_size", "threads"):
        assert word in found, found
