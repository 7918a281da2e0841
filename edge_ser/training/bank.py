"""Log-mel features of clips and their augmented copies, computed once and kept on disk."""

from __future__ import annotations

import ctypes
import hashlib
import json
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from edge_ser.audio import load_mono
from edge_ser.corpora import Clip
from edge_ser.files import replace_file
from edge_ser.frontend import LogMel, LogMelSpec
from edge_ser.training.augment import Augmenter, first_draw
from edge_ser.training.progress import track

__all__ = ["FeatureBank"]

_CLIPS_PER_JOB = 24
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class FeatureBank:
    """Log-mel features by clip, voice and room.

    Attributes:
        spec: the front end that made them.
        features: per clip and voice a list of ``(n_mels, frames) float16`` arrays, one per
            room. Voice 0 is the clip's own, room 0 the one it was recorded in, so
            ``features[clip][0][0]`` is the clean clip.
    """

    spec: LogMelSpec
    features: dict[Clip, list[list[NDArray[np.float16]]]]

    def clean(self, clip: Clip) -> NDArray[np.float16]:
        """Features ``(n_mels, frames)`` of the unchanged clip."""
        return self.features[clip][0][0]

    @classmethod
    def build(
        cls,
        clips: Sequence[Clip],
        spec: LogMelSpec,
        *,
        voices: int,
        rooms: int,
        seed: int,
        cache: Path,
        workers: int = 1,
    ) -> FeatureBank:
        """Read the clips and compute what the cache does not hold yet.

        Args:
            voices: other voices beside each clip's own.
            rooms: other rooms for each voice.
            cache: folder of cached features; each clip is keyed by the hash of its audio
                file, the front end, the numbers of copies and the seed.

        Raises:
            InputError: a clip cannot be read.
        """
        cache.mkdir(parents=True, exist_ok=True)
        jobs = [
            (clips[start : start + _CLIPS_PER_JOB], spec, voices, rooms, seed, cache)
            for start in range(0, len(clips), _CLIPS_PER_JOB)
        ]
        features: dict[Clip, list[list[NDArray[np.float16]]]] = {}
        if workers == 1:
            for job in track(jobs, "features"):
                features.update(_features(*job))
        else:
            with ProcessPoolExecutor(workers, initializer=_end_with_parent) as pool:
                for part in track(pool.map(_features_of, jobs), "features", len(jobs)):
                    features.update(part)
        return cls(spec, features)


def _end_with_parent() -> None:
    """Let the kernel end this worker when the training is killed, where it can (Linux)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _cached(path: Path, count: int) -> list[NDArray[np.float16]] | None:
    """The ``count`` arrays in ``path``; None where it is missing or damaged."""
    try:
        with np.load(path) as stored:
            return [stored[f"arr_{i}"] for i in range(count)]
    except (
        OSError, ValueError, KeyError, EOFError, BadZipFile, AttributeError, TypeError,
        RuntimeError,
    ):  # fmt: skip
        return None


def _features_of(
    job: tuple[Sequence[Clip], LogMelSpec, int, int, int, Path],
) -> dict[Clip, list[list[NDArray[np.float16]]]]:
    return _features(*job)


def _features(
    clips: Sequence[Clip], spec: LogMelSpec, voices: int, rooms: int, seed: int, cache: Path
) -> dict[Clip, list[list[NDArray[np.float16]]]]:
    front_end = LogMel(spec)
    augmenter: Augmenter | None = None
    result: dict[Clip, list[list[NDArray[np.float16]]]] = {}
    for clip in clips:
        content = clip.path.read_bytes()
        path = cache / f"{_key(content, spec, voices, rooms, seed)}.npz"
        flat = _cached(path, (voices + 1) * (rooms + 1))
        if flat is None:
            samples = load_mono(clip.path, spec.rate_hz)
            if voices + rooms and augmenter is None:
                augmenter = Augmenter(spec.rate_hz, seed)
            copies = _copies(samples, augmenter, voices, rooms, first_draw(content, seed))
            flat = [front_end.clip(copy).astype(np.float16) for copy in copies]
            with replace_file(path) as file:
                np.savez(file, *flat)
        per_voice = rooms + 1
        result[clip] = [flat[i : i + per_voice] for i in range(0, len(flat), per_voice)]
    return result


def _copies(
    samples: NDArray[np.float32], augmenter: Augmenter | None, voices: int, rooms: int, draw: int
) -> Iterator[NDArray[np.float32]]:
    for voice in range(voices + 1):
        spoken = samples
        if voice:
            assert augmenter is not None
            spoken = augmenter.voice(samples, draw + voice - 1)
        yield spoken
        for room in range(rooms):
            assert augmenter is not None
            yield augmenter.room(spoken, draw + voice * rooms + room)


def _key(content: bytes, spec: LogMelSpec, voices: int, rooms: int, seed: int) -> str:
    recipe = json.dumps(
        {"spec": spec.to_dict(), "voices": voices, "rooms": rooms, "seed": seed}, sort_keys=True
    )
    return hashlib.sha256(recipe.encode() + content).hexdigest()[:32]
