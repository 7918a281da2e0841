"""Two engines on the same frames: how far apart are their scores, how often their labels."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.audio import load_mono
from edge_ser.errors import InputError, UsageError
from edge_ser.frontend import LogMel
from edge_ser.metrics import score
from edge_ser.pack import Manifest, Pack
from edge_ser.runtime.backends import Engine

__all__ = ["ClipFrames", "EngineParity", "clips_of", "compare_engines", "time_engine"]

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


@dataclass(frozen=True)
class EngineParity:
    """Differences of the second engine from the first.

    Attributes:
        clips: how many.
        steps: how many in all.
        agreement: share of steps with the same label.
        final_agreement: share of clips with the same label in the end.
        worst: largest difference of a probability in any step.
        mean: mean difference of a probability.
        worst_clip: where the largest is.
        uar_change: UAR of the second minus the first; None without labels.
    """

    clips: int
    steps: int
    agreement: float
    final_agreement: float
    worst: float
    mean: float
    worst_clip: str
    uar_change: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def clips_of(
    pack: Pack, files: Sequence[Path] = (), data: Sequence[str] = (), limit: int = 200
) -> list[ClipFrames]:
    """What to compare on: the pack's golden frames, the given files, labelled clips of corpora.

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
    for path in files:
        samples = load_mono(path, manifest.frontend.rate_hz)
        clips.append(ClipFrames(str(path), front_end.clip(samples)))
    for item in data:
        clips += _labelled(manifest, front_end, item, limit)
    return clips or [noise(manifest)]


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
) -> EngineParity:
    """Run ``clips`` (noise if there are none) through both, each clip from a fresh state.

    Raises:
        InputError: a clip is shorter than one step, or an engine returns NaN.
    """
    clips = clips or [noise(manifest)]
    a = _probabilities(manifest, first, clips)
    b = _probabilities(manifest, second, clips)
    errors = [np.abs(p - q) for p, q in zip(a, b, strict=True)]
    same = [p.argmax(axis=1) == q.argmax(axis=1) for p, q in zip(a, b, strict=True)]
    known = [i for i, clip in enumerate(clips) if clip.label is not None]
    change = None
    if known:
        truth = [manifest.labels.index(clips[i].label or "") for i in known]
        uars = [
            score(truth, np.stack([p[i][-1] for i in known]), manifest.labels).uar for p in (a, b)
        ]
        change = float(uars[1] - uars[0])
    return EngineParity(
        clips=len(clips),
        steps=sum(map(len, a)),
        agreement=float(np.concatenate(same).mean()),
        final_agreement=float(np.mean([item[-1] for item in same])),
        worst=max(float(error.max()) for error in errors),
        mean=float(np.concatenate(errors).mean()),
        worst_clip=clips[int(np.argmax([error.max() for error in errors]))].name,
        uar_change=change,
    )


def _probabilities(
    manifest: Manifest, engine: Engine, clips: Sequence[ClipFrames]
) -> list[NDArray[np.float64]]:
    stream = engine.stream()
    size = manifest.frontend.step_frames
    found = []
    for clip in clips:
        stream.reset()
        steps = clip.mel.shape[1] // size
        if steps == 0:
            raise InputError(f"{clip.name} is shorter than one step; leave it out")
        logits = []
        for index in range(steps):
            stream.mel[0] = clip.mel[:, index * size : (index + 1) * size]
            logits.append(stream.step()[0].astype(np.float64))
        values = np.stack(logits) / manifest.calibration.temperature
        if not np.isfinite(values).all():
            raise InputError(
                f"{engine.backend} {engine.precision} returns NaN or infinity for {clip.name}"
            )
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        found.append(powers / powers.sum(axis=1, keepdims=True))
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
