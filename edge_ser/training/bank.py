"""Log-mel features of clips and their augmented copies, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ser.audio import load_mono
from edge_ser.corpora import Clip
from edge_ser.files import replace_file
from edge_ser.frontend import LogMel, LogMelSpec
from edge_ser.training.augment import Augmenter
from edge_ser.training.progress import track

__all__ = ["FeatureBank"]

_CLIPS_PER_JOB = 24


@dataclass(frozen=True)
class FeatureBank:
    """Log-mel features by clip and copy.

    Attributes:
        spec: the front end that made them.
        features: per clip a list of ``(n_mels, frames) float16`` arrays, the clean clip
            first and then its augmented copies.
    """

    spec: LogMelSpec
    features: dict[Clip, list[NDArray[np.float16]]]

    @classmethod
    def build(
        cls,
        clips: Sequence[Clip],
        spec: LogMelSpec,
        *,
        copies: int,
        seed: int,
        cache: Path,
        workers: int = 1,
    ) -> FeatureBank:
        """Read the clips and compute what the cache does not hold yet.

        Args:
            copies: augmented copies beside each clean clip.
            cache: folder of cached features; each clip is keyed by the hash of its audio
                file, the front end, the number of copies and the seed.

        Raises:
            InputError: a clip cannot be read.
        """
        cache.mkdir(parents=True, exist_ok=True)
        jobs = [
            (clips[start : start + _CLIPS_PER_JOB], spec, copies, seed, cache)
            for start in range(0, len(clips), _CLIPS_PER_JOB)
        ]
        features: dict[Clip, list[NDArray[np.float16]]] = {}
        if workers == 1:
            for job in track(jobs, "features"):
                features.update(_features(*job))
        else:
            with ProcessPoolExecutor(workers) as pool:
                for part in track(pool.map(_features_of, jobs), "features", len(jobs)):
                    features.update(part)
        return cls(spec, features)


def _features_of(
    job: tuple[Sequence[Clip], LogMelSpec, int, int, Path],
) -> dict[Clip, list[NDArray[np.float16]]]:
    return _features(*job)


def _features(
    clips: Sequence[Clip], spec: LogMelSpec, copies: int, seed: int, cache: Path
) -> dict[Clip, list[NDArray[np.float16]]]:
    front_end = LogMel(spec)
    augmenter: Augmenter | None = None
    result: dict[Clip, list[NDArray[np.float16]]] = {}
    for clip in clips:
        key = _key(clip, spec, copies, seed)
        path = cache / f"{key}.npz"
        if path.exists():
            with np.load(path) as stored:
                result[clip] = [stored[f"arr_{i}"] for i in range(copies + 1)]
            continue
        samples = load_mono(clip.path, spec.rate_hz)
        arrays = [front_end.clip(samples).astype(np.float16)]
        if copies and augmenter is None:
            augmenter = Augmenter(spec.rate_hz, seed)
        for copy in range(copies):
            assert augmenter is not None
            changed = augmenter(samples, draw=int(key[:7], 16) + copy)
            arrays.append(front_end.clip(changed).astype(np.float16))
        with replace_file(path) as file:
            np.savez(file, *arrays)
        result[clip] = arrays
    return result


def _key(clip: Clip, spec: LogMelSpec, copies: int, seed: int) -> str:
    recipe = json.dumps({"spec": spec.to_dict(), "copies": copies, "seed": seed}, sort_keys=True)
    digest = hashlib.sha256(recipe.encode())
    digest.update(clip.path.read_bytes())
    return digest.hexdigest()[:32]
