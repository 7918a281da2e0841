"""A small random pack and speech-like audio, both made on the spot."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

RATE_HZ = 16000


def speech_like(seconds: float, seed: int = 0) -> NDArray[np.int16]:
    """Voiced bursts of a gliding pitch with pauses, over a little noise."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE_HZ)
    time_s = np.arange(n) / RATE_HZ
    pitch_hz = 140 + 40 * np.sin(2 * np.pi * 0.7 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    voice = sum(np.sin(k * phase) / k for k in range(1, 12))
    syllables = np.clip(np.sin(2 * np.pi * 3 * time_s), 0, None)
    signal = 0.1 * syllables * voice + 0.003 * rng.standard_normal(n)
    return np.asarray(np.clip(signal, -1, 1) * 32767, np.int16)


@pytest.fixture(scope="session")
def voice_wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audio") / "voice.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(speech_like(4.0).tobytes())
    return path


@pytest.fixture(scope="session")
def pack_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack with a float32 model of a tiny, randomly initialised student."""
    torch = pytest.importorskip("torch", reason="making a pack needs the train extra")
    from edge_ser.converters.forms import FloatForm
    from edge_ser.converters.step_graph import build_step
    from edge_ser.converters.weights import fold_student
    from edge_ser.frontend import LogMelSpec
    from edge_ser.models.student import Student, StudentConfig
    from edge_ser.pack import Manifest, StateSpec, Target, write_pack

    torch.manual_seed(0)
    spec = LogMelSpec()
    config = StudentConfig(stem=16, trunk=16, heads=2, context=8, fused=16, hidden=16)
    model = build_step(fold_student(Student(config, spec.silence).eval()), FloatForm())
    states = tuple(
        StateSpec(s.name, s.next_name, tuple(s.shape), s.dtype, tuple(float(v) for v in s.before))
        for s in model.states
    )
    manifest = Manifest(
        id="tiny",
        version="0.0.1",
        description="A random model for tests.",
        labels=config.labels,
        frontend=spec,
        targets={"float": Target("float.onnx", ("onnxruntime",), "fp32", states)},
    )
    out = tmp_path_factory.mktemp("packs") / "tiny"
    write_pack(manifest, {"float.onnx": model.onnx.SerializeToString()}, out)
    return out


@pytest.fixture(scope="session")
def voice() -> NDArray[np.int16]:
    return speech_like(4.0)
