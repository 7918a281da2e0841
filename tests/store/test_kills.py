"""Eight random moments of ``kill -9``; ``python -m benchmarks.kills`` does two hundred."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="needs the serve extra")

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.kills import kills
from edge_ser.pack import bundled_packs


@pytest.mark.slow
def test_the_service_always_starts_with_a_whole_pack() -> None:
    if not bundled_packs():
        pytest.skip("this checkout has no bundled pack")
    result = kills(8, seed=1, build=False, bundle=None, tell=print)
    assert result.failures == []
    assert sum(result.moments.values()) == 8, "kills that hit a running operation"
    assert sum(result.found.values()) == 8 + result.too_late
