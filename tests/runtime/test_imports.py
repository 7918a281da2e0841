"""The import rules: the runtime never needs the workshop, the core is quick to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import edge_ser

ROOTS = [Path(folder) for folder in edge_ser.__path__]
BLOCKED = (
    "torch", "torchaudio", "transformers", "onnx", "onnxscript", "lightning_fabric", "sklearn",
    "scipy", "rich", "safetensors", "audiomentations", "edge_ser.converters",
    "edge_ser.calibration", "edge_ser.training", "edge_ser.models",
)  # fmt: skip
FENCE = f"""
import sys
BLOCKED = {BLOCKED!r}
class Fence:
    def find_spec(self, name, path=None, target=None):
        if any(name == wall or name.startswith(wall + ".") for wall in BLOCKED):
            raise ImportError(name + " must not be imported here")
sys.meta_path.insert(0, Fence())
"""


def modules_of(package: str) -> list[str]:
    """Every module below ``edge_ser.package`` wherever it stands."""
    found = set()
    for root in ROOTS:
        for path in (root / package).rglob("*.py"):
            parts = ("edge_ser", *path.relative_to(root).with_suffix("").parts)
            found.add(".".join(part for part in parts if part != "__init__"))
    return sorted(found)


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", FENCE + code], capture_output=True, text=True, timeout=300
    )


def test_the_list_of_modules_is_not_empty() -> None:
    assert "edge_ser.runtime.backends.ort" in modules_of("runtime")
    assert len(modules_of("runtime")) > 8


@pytest.mark.parametrize("module", modules_of("runtime"))
def test_every_runtime_module_imports_without_the_workshop(module: str) -> None:
    done = run(f"import {module}")
    if done.returncode:  # what an extra brings may be missing, and then the extra is named
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("edge_ser.errors.MissingExtra"), done.stderr
        assert "pip install 'edge-ser[" in last
        assert module.split(".")[2] in ("serve", "ros2", "mqtt", "mic"), done.stderr


@pytest.mark.parametrize("package", ["frontend", "pack", "corpora"])
def test_the_core_imports_without_the_workshop(package: str) -> None:
    done = run("\n".join(f"import {module}" for module in modules_of(package)))
    assert done.returncode == 0, done.stderr


def test_a_stream_runs_without_the_workshop(shared_pack: Path) -> None:
    done = run(
        f"""
import numpy as np
from edge_ser.runtime import Recognizer
with Recognizer.open({str(shared_pack)!r}).stream() as stream:
    events = stream.push(np.ones(16000, np.int16))
    print(len(events), stream.finish().label)
"""
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("12 ")


def test_importing_the_runtime_loads_no_engine_and_no_audio_library() -> None:
    done = run(
        "from edge_ser.runtime import *\n"
        "late = {'onnxruntime', 'tensorrt', 'soundfile', 'soxr', 'sounddevice', 'argparse'}\n"
        "print(sorted(late & set(sys.modules)))"
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_the_runtime_loads_what_is_asked_for() -> None:
    done = run(
        "import sys, edge_ser.runtime as runtime\n"
        "print('numpy' in sys.modules, set(runtime.__all__) <= set(dir(runtime)))\n"
        "print([type(getattr(runtime, name)).__name__ for name in runtime.__all__])\n"
        "print(runtime.Recognizer is runtime.Recognizer, hasattr(runtime, 'Recogniser'))\n"
        "runtime.Recogniser"
    )
    lazy, kinds, same = done.stdout.splitlines()
    assert lazy == "False True"
    assert set(ast.literal_eval(kinds)) <= {"type", "_ProtocolMeta"}
    assert same == "True False"
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "AttributeError: module 'edge_ser.runtime' has no attribute 'Recogniser'"
    )


def test_importing_the_package_imports_nothing_else() -> None:
    done = run("import edge_ser; print('numpy' in sys.modules, edge_ser.__version__)")
    assert done.stdout.split()[0] == "False", done.stderr


@pytest.mark.parametrize(
    ("room", "never"),
    [
        ("calibration", ("converters", "runtime", "training", "models")),
        ("pack", ("calibration", "converters", "runtime", "training", "models")),
        ("frontend", ("calibration", "converters", "runtime", "training", "models", "pack")),
        ("training", ("converters", "runtime")),
        ("engines", ("calibration", "converters", "runtime", "training", "models")),
    ],
)
def test_imports_go_one_way(room: str, never: tuple[str, ...]) -> None:
    """Also those inside of functions, which no process that merely imports would meet."""
    files = [path for root in ROOTS for path in (root / room).rglob("*.py")]
    assert files
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert name.split(".")[:2] not in [["edge_ser", wall] for wall in never], path
