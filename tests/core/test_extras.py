"""What the code imports comes with the extra that the README names for it."""

from __future__ import annotations

import ast
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
OTHERWISE_NAMED = {"sklearn": "scikit-learn", "lightning_fabric": "lightning-fabric"}
EXTRA_OF = {
    "edge_ser/corpora": "train",
    "edge_ser/models": "train",
    "edge_ser/training": "semantic",
    "edge_ser/engines": "engines",
    "converters": "convert",
    "calibration": "convert",
}


def brought_by(extra: str) -> set[str]:
    """Names of what ``pip install edge-ser[EXTRA]`` asks for itself."""
    found: set[str] = set()
    for line in requires("edge-ser") or []:
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
            if wanted.name == "edge-ser":
                found.update(*map(brought_by, wanted.extras))
            else:
                found.add(wanted.name)
    return found


def imported_below(folder: Path) -> dict[str, str]:
    """Top-level names of other packages, each with a file that imports it."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for name in names:
                top = name.partition(".")[0]
                if top not in sys.stdlib_module_names and top != "edge_ser":
                    found[top] = path.name
    return found


@pytest.mark.parametrize("folder", EXTRA_OF)
def test_an_extra_brings_what_its_code_imports(folder: str) -> None:
    imported = imported_below(ROOT / folder)
    assert imported  # the folder is where it is looked for
    brought = brought_by(EXTRA_OF[folder])
    lacking = {
        name: file
        for name, file in imported.items()
        if OTHERWISE_NAMED.get(name, name).replace("_", "-") not in brought
    }
    assert not lacking, f"[{EXTRA_OF[folder]}] does not bring {lacking}"
