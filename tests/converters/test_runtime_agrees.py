"""Samples through the runtime give what torch gives for the whole clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from making.speech import speech

torch = pytest.importorskip("torch", reason="converters need torch")
pytest.importorskip("onnx", reason="converters need onnx")

from making.packs import write_tiny_pack
from making.students import random_student

from edge_ser.frontend import LogMel
from edge_ser.runtime import Recognizer


@pytest.mark.parametrize("suffix", ["", ".tar"])
def test_probabilities_are_the_tempered_softmax_of_torch(tmp_path: Path, suffix: str) -> None:
    student = random_student(seed=3)
    manifest = write_tiny_pack(tmp_path / f"pack{suffix}", student)
    samples = speech(3.2, seed=8)
    mel = torch.from_numpy(LogMel(manifest.frontend).clip(samples))[None]
    with torch.no_grad():
        logits = student(mel).logits[0] / manifest.calibration.temperature
    expected = torch.softmax(logits, dim=-1).numpy()
    recognizer = Recognizer.open(tmp_path / f"pack{suffix}")
    with recognizer.stream() as stream:
        events = stream.push(samples)
    got = np.array([list(event.probabilities.values()) for event in events])
    assert recognizer.labels == student.config.labels
    np.testing.assert_allclose(got, expected, atol=1e-4)
