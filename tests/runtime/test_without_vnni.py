"""The bundled model on an x86 processor whose kernels add two products in 16 bits.

With weights of plain 8 bits probabilities were 0.37 away here (ONNX Runtime 1.32).
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys

import pytest

QEMU = shutil.which("qemu-x86_64")
PROBABILITIES = """
import json
from edge_ser.audio import load_mono
from edge_ser.runtime import Recognizer
from edge_ser.runtime.sources import DEMO

recognizer = Recognizer.open(precision="int8")
with recognizer.stream() as stream:
    events = [*stream.push(load_mono(DEMO, 16_000)), stream.finish()]
print(json.dumps([event.probabilities for event in events]))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="compares two x86 processors")
@pytest.mark.skipif(QEMU is None, reason="needs qemu-user")
def test_it_says_the_same_without_vnni() -> None:
    here = [sys.executable, "-c", PROBABILITIES]
    assert QEMU is not None
    haswell = [QEMU, "-cpu", "Haswell", *here]  # AVX2, no VNNI
    first, second = (
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for command in (here, haswell)
    )
    assert len(first) == len(second) > 10
    for a, b in zip(first, second, strict=True):
        assert b == pytest.approx(a, abs=1e-4)
