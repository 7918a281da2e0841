"""Two engines on the same frames: how far apart are their scores, how often their labels."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ser.audio import load_mono
from edge_ser.errors import InputError, UsageError
from edge_ser.frontend import LogMel
from edge_ser.pack import Manifest, Pack
from edge_ser.parity import Parity, compare
from edge_ser.runtime.backends import Engine
from edge_ser.runtime.sources import DEMO

__all__ = [
    "ClipFrames",
    "clips_of",
    "compare_engines",
    "engine_logits",
    "time_engine",
    "truth_of",
]

_NOISE_STEPS = 100
_GOLDEN = "golden.npz"


@dataclass(frozen=True)
class ClipFrames:
    """Log-mel frames of one clip.

    Attributes:
        mel: ``(n_mels, frames) float32``, frames a multiple of the step.
        label: if it is known.
    """

    name: str
    mel: NDArray[np.float32]
    label: str | None = None


def clips_of(
    pack: Pack, files: Sequence[Path] = (), data: Sequence[str] = (), limit: int = 200
) -> list[ClipFrames]:
    """What to compare on: the pack's golden frames, the given files, labelled clips of corpora.

    Without files and corpora the bundled sample of speech is taken.

    Args:
        data: ``corpus=DIR``; labels that the pack does not know are left out.
        limit: of clips per corpus, spread evenly over it.

    Raises:
        UsageError: ``data`` is malformed.
        InputError: a file cannot be read, or a corpus has no clip that the pack knows.
    """
    manifest = pack.manifest
    front_end = LogMel(manifest.frontend)
    clips = []
    if _GOLDEN in manifest.files:
        with np.load(io.BytesIO(pack.read(_GOLDEN)), allow_pickle=False) as golden:
            clips.append(ClipFrames("golden", golden["mel"].astype(np.float32)))
    for path in files or ([] if data else [DEMO]):
        samples = load_mono(path, manifest.frontend.rate_hz)
        clips.append(ClipFrames(str(path), front_end.clip(samples)))
    for item in data:
        clips += _labelled(manifest, front_end, item, limit)
    return clips


def _labelled(manifest: Manifest, front_end: LogMel, item: str, limit: int) -> list[ClipFrames]:
    from edge_ser.corpora import load_corpus

    corpus, equals, folder = item.partition("=")
    if not equals:
        raise UsageError(f"--data {item}: write it as corpus=DIR, for example emodb=~/emodb")
    known = load_corpus(corpus, Path(folder).expanduser()).with_labels(manifest.labels).clips
    if not known:
        raise InputError(f"{folder} has no clip with a label of {manifest.name}")
    picked = np.unique(np.linspace(0, len(known) - 1, min(limit, len(known))).astype(int))
    rate = manifest.frontend.rate_hz
    return [
        ClipFrames(str(clip.path), front_end.clip(load_mono(clip.path, rate)), clip.label)
        for clip in (known[index] for index in picked)
    ]


def noise(manifest: Manifest) -> ClipFrames:
    """Frames that look like log-mel and rise and fall, for packs without golden frames."""
    spec = manifest.frontend
    rng = np.random.default_rng(0)
    frames = _NOISE_STEPS * spec.step_frames
    level = np.sin(np.arange(frames) / 40.0) * 3.0 - 6.0
    mel = rng.standard_normal((spec.n_mels, frames)) * 2.0 + level
    return ClipFrames("noise", mel.astype(np.float32))


def compare_engines(
    manifest: Manifest, first: Engine, second: Engine, clips: Sequence[ClipFrames] = ()
) -> Parity:
    """Run ``clips`` (noise if there are none) through both, each clip from a fresh state.

    Raises:
        InputError: a clip is shorter than one step, or an engine returns NaN.
    """
    clips = clips or [noise(manifest)]
    a, b = (engine_logits(manifest, engine, clips) for engine in (first, second))
    truth = truth_of(manifest, clips)
    return compare(a, b, truth, manifest.labels, manifest.calibration.temperature)


def truth_of(manifest: Manifest, clips: Sequence[ClipFrames]) -> list[int | None]:
    """Index of each clip's label, None where it has none."""
    return [None if c.label is None else manifest.labels.index(c.label) for c in clips]


def engine_logits(
    manifest: Manifest, engine: Engine, clips: Sequence[ClipFrames]
) -> list[NDArray[np.float32]]:
    """``(steps, labels)`` logits of each clip.

    Raises:
        InputError: a clip is shorter than one step, or the engine returns NaN.
    """
    stream = engine.stream()
    size = manifest.frontend.step_frames
    found = []
    for clip in clips:
        stream.reset()
        steps = clip.mel.shape[1] // size
        if steps == 0:
            raise InputError(f"{clip.name} is shorter than one step; leave it out")
        logits = np.empty((steps, len(manifest.labels)), np.float32)
        for index in range(steps):
            stream.mel[0] = clip.mel[:, index * size : (index + 1) * size]
            logits[index] = stream.step()[0]
        if not np.isfinite(logits).all():
            raise InputError(
                f"{engine.backend} {engine.precision} returns NaN or infinity for {clip.name}"
            )
        found.append(logits)
    return found


def time_engine(
    manifest: Manifest, engine: Engine, warm_up: int = 200, steps: int = 1000
) -> tuple[float, float]:
    """Median and 99th percentile of a step in milliseconds, wall clock, input copy included."""
    stream = engine.stream()
    mel = noise(manifest).mel[:, : manifest.frontend.step_frames]
    times = np.empty(steps)
    for index in range(-warm_up, steps):
        began = time.perf_counter_ns()
        stream.mel[0] = mel
        stream.step()
        if index >= 0:
            times[index] = (time.perf_counter_ns() - began) * 1e-6
    return float(np.percentile(times, 50)), float(np.percentile(times, 99))
