"""``--gpu-report FILE`` collects the numbers of the GPU tests in one JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_ser.engines import find_host

NUMBERS: dict[str, Any] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--gpu-report", metavar="FILE", help="write the numbers as JSON")
    parser.addoption("--gpu-backend", default="tensorrt", choices=["tensorrt", "tensorrt-rtx"])


@pytest.fixture
def numbers(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Where a test puts what it measured."""
    return NUMBERS.setdefault(request.node.name, {})  # type: ignore[no-any-return]


def pytest_sessionfinish(session: pytest.Session) -> None:
    target = session.config.getoption("--gpu-report", default=None)
    if target:
        document = {"host": vars(find_host()), "tests": NUMBERS}
        Path(target).write_text(json.dumps(document, indent=1) + "\n")
