"""The systems. Each runs the code and the model that its package ships, set to one thread."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.peer import RATE_HZ, Feed, Peer, Window, version

__all__ = ["edge_ser", "systems"]

_WINDOW, _HOP = 3 * RATE_HZ, RATE_HZ
_NO_DEPS = "pip install --no-deps -r benchmarks/requirements-nodeps.txt"
_WINDOWED = "3 s window, 1 s hop, 1 thread"


def edge_ser(pack: str | None, precision: str) -> Peer:
    """Our own pack, as ``Recognizer.open`` gives it.

    Raises:
        UsageError: it hears audio at another rate than the peers.
    """
    from edge_ser import __version__
    from edge_ser.errors import UsageError
    from edge_ser.runtime import Recognizer

    recognizer = Recognizer.open(pack, precision=precision)
    if recognizer.rate_hz != RATE_HZ:
        raise UsageError(
            f"{recognizer.manifest.name} hears {recognizer.rate_hz} Hz and the peers {RATE_HZ} Hz; "
            f"name a pack for {RATE_HZ} Hz"
        )
    engine = recognizer.engine

    def load() -> Feed:
        stream = Recognizer.open(pack, precision=precision).stream()

        def feed(chunk: NDArray[np.int16]) -> str:
            return stream.push(chunk)[0].to_json()

        return feed

    return Peer(
        "edge-ser",
        f"edge-ser {recognizer.manifest.id}",
        "emotion event",
        f"{engine.precision}, {engine.backend}, 1 thread, event written as JSON",
        f"edge-ser {__version__}",
        recognizer.manifest.frontend.step_samples,
        load,
    )


def systems() -> dict[str, Callable[[], Peer]]:
    """Makers of the peers by name; a maker raises ImportError when its package is missing."""
    return {
        "openwakeword": _openwakeword,
        "openwakeword-lean": _openwakeword_lean,
        "silero-vad": _silero,
        "opensmile": _opensmile,
        "moonshine": _moonshine,
        "wav2vec2-fp32": lambda: _wav2vec2(int8=False),
        "wav2vec2-int8": lambda: _wav2vec2(int8=True),
    }


def _openwakeword() -> Peer:
    found = _folder("openwakeword", _NO_DEPS)

    def load() -> Feed:
        from openwakeword.utils import AudioFeatures

        features: Feed = AudioFeatures(
            str(found / "resources/models/melspectrogram.onnx"),
            str(found / "resources/models/embedding_model.onnx"),
            ncpu=1,
        )
        return features

    return Peer(
        "openwakeword",
        "openWakeWord mel + embedding, as shipped",
        "96 features",
        "AudioFeatures(ncpu=1), 80 ms frames, onnxruntime",
        version("openwakeword"),
        1280,
        load,
    )


def _openwakeword_lean() -> Peer:
    found = _folder("openwakeword", _NO_DEPS)

    def load() -> Feed:
        mel = _session(found / "resources/models/melspectrogram.onnx")
        embedding = _session(found / "resources/models/embedding_model.onnx")
        samples = np.zeros((1, 1280 + 480), np.float32)
        frames = np.ones((1, 76, 32, 1), np.float32)

        def feed(chunk: NDArray[np.int16]) -> NDArray[np.float32]:
            samples[0, :-1280] = samples[0, 1280:]
            samples[0, -1280:] = chunk
            new = mel.run(None, {"input": samples})[0].reshape(-1, 32) / 10 + 2
            frames[0, : -len(new)] = frames[0, len(new) :]
            frames[0, -len(new) :, :, 0] = new
            features: NDArray[np.float32] = embedding.run(None, {"input_1": frames})[0]
            return features

        return feed

    return Peer(
        "openwakeword-lean",
        "openWakeWord mel + embedding, models only",
        "96 features",
        "its two models without its Python buffers, 80 ms frames, onnxruntime, 1 thread",
        version("openwakeword"),
        1280,
        load,
    )


def _silero() -> Peer:
    model = _folder("silero_vad", _NO_DEPS) / "data" / "silero_vad.onnx"

    def load() -> Feed:
        session = _session(model)
        inputs = {
            "input": np.zeros((1, 64 + 512), np.float32),
            "state": np.zeros((2, 1, 128), np.float32),
            "sr": np.array(RATE_HZ, np.int64),
        }

        def feed(chunk: NDArray[np.int16]) -> float:
            audio = inputs["input"]
            audio[0, :64] = audio[0, -64:]
            np.multiply(chunk, np.float32(1 / 32768), out=audio[0, 64:])
            probability, inputs["state"] = session.run(None, inputs)
            return float(probability[0, 0])

        return feed

    return Peer(
        "silero-vad",
        "Silero VAD",
        "speech probability",
        "silero_vad.onnx, 32 ms chunks, onnxruntime, 1 thread",
        version("silero-vad"),
        512,
        load,
    )


def _opensmile() -> Peer:
    import opensmile

    def load() -> Feed:
        smile = opensmile.Smile(
            opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals, num_workers=1
        )
        window = Window(_WINDOW)
        return lambda chunk: smile.process_signal(window.push(chunk), RATE_HZ)

    return Peer(
        "opensmile",
        "openSMILE eGeMAPSv02 functionals",
        "88 features",
        _WINDOWED,
        version("opensmile"),
        _HOP,
        load,
    )


def _moonshine() -> Peer:
    model = (
        _folder("moonshine_voice", "pip install '.[bench]'") / "assets/tiny-en/encoder_model.ort"
    )

    def load() -> Feed:
        session = _session(model)
        mask = np.ones((1, _WINDOW), np.int64)
        window = Window(_WINDOW)
        return lambda chunk: session.run(
            None, {"input_values": window.push(chunk)[None], "attention_mask": mask}
        )

    return Peer(
        "moonshine",
        "Moonshine tiny encoder (INT8)",
        "288 features",
        f"{_WINDOWED}, onnxruntime",
        version("moonshine-voice"),
        _HOP,
        load,
    )


def _wav2vec2(int8: bool) -> Peer:
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

    def load() -> Feed:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        model: Any = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(num_labels=6)).eval()
        if int8:
            model = torch.ao.quantization.quantize_dynamic(
                model, {torch.nn.Linear}, dtype=torch.qint8
            )
        window = Window(_WINDOW)

        def feed(chunk: NDArray[np.int16]) -> Any:
            with torch.inference_mode():
                return model(torch.from_numpy(window.push(chunk))[None]).logits

        return feed

    kind = "dynamic INT8" if int8 else "FP32"
    return Peer(
        f"wav2vec2-{'int8' if int8 else 'fp32'}",
        f"wav2vec2-base with a classifier, {kind}",
        "emotion",
        f"{_WINDOWED}, torch {torch.__version__}, architecture with random weights",
        version("transformers"),
        _HOP,
        load,
    )


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _folder(module: str, install: str) -> Path:
    """Where ``module`` is installed; it is not imported, which may need more than is here."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ImportError(f"{module} is not installed; {install}")
    return Path(spec.origin).parent
