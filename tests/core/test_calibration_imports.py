"""Temperatures are found without onnx, which training does without."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
sys.modules["onnx"] = None  # as if it were not installed
import edge_ser.calibration as calibration
from edge_ser.calibration.confidence import fit_temperature
assert calibration.fit_temperature is fit_temperature
assert calibration.choose_clips
try:
    calibration.nothing
except AttributeError:
    pass
try:
    calibration.activation_ranges
except ImportError:
    print("as expected")
"""


def test_calibration_offers_what_needs_no_onnx_without_it() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "as expected\n"), done.stderr


def test_what_is_offered_is_there() -> None:
    pytest.importorskip("onnx")
    import edge_ser.calibration as calibration

    for name in calibration.__all__:
        assert getattr(calibration, name) is not None
