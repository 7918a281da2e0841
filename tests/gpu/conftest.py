"""``--gpu-report FILE`` collects outcome and numbers of the GPU tests in one JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

import edge_ser
from edge_ser.engines import find_host, load_bindings
from edge_ser.errors import EdgeSerError

NUMBERS: dict[str, dict[str, Any]] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--gpu-report", metavar="FILE", help="write the numbers as JSON")
    parser.addoption("--gpu-backend", default="tensorrt", choices=["tensorrt", "tensorrt-rtx"])


@pytest.fixture
def numbers(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Where a test puts what it measured."""
    return NUMBERS.setdefault(request.node.name, {})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: Any = yield
    told = NUMBERS.setdefault(item.name, {})
    if report.when == "call" or report.outcome != "passed":
        told["outcome"] = report.outcome
        if report.outcome == "skipped":
            told["reason"] = str(report.longrepr[-1])
        elif report.outcome == "failed":
            told["reason"] = report.longreprtext.strip().splitlines()[-1]
    return report  # type: ignore[no-any-return]


def pytest_sessionfinish(session: pytest.Session) -> None:
    target = session.config.getoption("--gpu-report", default=None)
    if not target:
        return
    backend = session.config.getoption("--gpu-backend")
    try:
        version: str | None = load_bindings(backend).version
    except EdgeSerError:
        version = None
    document = {
        "edge_ser": edge_ser.__version__,
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "backend": backend,
        "backend_version": version,
        "host": vars(find_host()),
        "summary": dict(Counter(item.get("outcome", "not run") for item in NUMBERS.values())),
        "tests": NUMBERS,
    }
    Path(target).write_text(json.dumps(document, indent=1) + "\n")
