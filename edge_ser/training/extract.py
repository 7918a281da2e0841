"""Any features of clips and of their augmented copies, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_ser.audio import load_mono
from edge_ser.corpora import Clip
from edge_ser.errors import EdgeSerError, InputError
from edge_ser.files import replace_file
from edge_ser.training.augment import Augmenter, first_draw
from edge_ser.training.progress import say, track

__all__ = ["Copies", "Extractor", "extract"]


class Extractor(Protocol):
    """Makes one array out of the samples of a clip."""

    @property
    def identity(self) -> str:
        """What the arrays depend on: changes whenever they would."""

    @property
    def rate_hz(self) -> int:
        """Sample rate of the samples it takes."""

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[Any]:
        """The features of ``(n,) float32`` samples."""


@dataclass(frozen=True)
class Copies:
    """Which augmented copies are made beside each clean clip.

    Features of different kinds with the same copies belong to the same sound.

    Attributes:
        count: copies beside the clean clip.
        seed: of what is drawn.
        rooms: other rooms and microphones too; without, copies are clean other voices, the
            same as the voices of ``FeatureBank.build``.
    """

    count: int = 0
    seed: int = 0
    rooms: bool = True

    def draws(self, content: bytes) -> list[int]:
        """The augmenter's draw for each copy of the audio file with this ``content``."""
        first = first_draw(content, self.seed)
        return [first + index for index in range(self.count)]


def extract(
    clips: Sequence[Clip],
    extractor: Extractor,
    cache: Path,
    *,
    copies: Copies | None = None,
    what: str = "features",
    skip_unreadable: bool = False,
    keep: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
) -> dict[Clip, list[NDArray[Any]]]:
    """Features by clip: of the clean clip first, then of its augmented copies.

    What the folder ``cache`` holds is read, the rest is computed and stored clip by clip, so
    a killed run goes on where it was. The key is the extractor's identity, the hash of the
    audio file and the copies; clips of a changed file or another encoder never mix.

    Args:
        skip_unreadable: leave out clips that cannot be read, naming each; without it the
            first one is an error.
        keep: what to keep of each array in memory; all of it is stored.

    Raises:
        InputError: a clip cannot be read.
        OutputError: the disk is full; what was stored stays.
    """
    copies = copies or Copies()
    found: dict[Clip, list[NDArray[Any]]] = {}
    missing: list[tuple[Clip, Path]] = []
    folder = cache / hashlib.sha256(extractor.identity.encode()).hexdigest()[:16]
    skipped = 0

    def leave_out(error: InputError) -> None:
        nonlocal skipped
        if not skip_unreadable:
            raise error
        skipped += 1
        say(f"{what}: left out: {error}")

    def take(clip: Clip, arrays: list[NDArray[Any]]) -> None:
        if all(np.isfinite(array).all() for array in arrays):
            found[clip] = arrays if keep is None else [keep(array) for array in arrays]
        else:
            leave_out(InputError(f"{clip.path}: its {what} are no finite numbers; listen to it"))

    for clip in clips:
        try:
            path = folder / f"{_clip_key(clip, copies)}.npz"
        except InputError as error:
            leave_out(error)
            continue
        stored = _read(path, 1 + copies.count)
        if stored is None:
            missing.append((clip, path))
        else:
            take(clip, stored)
    augmenter: Augmenter | None = None
    for clip, path in track(missing, what):
        try:
            samples = load_mono(clip.path, extractor.rate_hz)
        except InputError as error:
            leave_out(error)
            continue
        if copies.count and augmenter is None:
            augmenter = Augmenter(extractor.rate_hz, copies.seed)
        try:
            arrays = [extractor(version) for version in _versions(clip, samples, copies, augmenter)]
        except (EdgeSerError, MemoryError):
            raise
        except Exception as error:  # of whatever library computes the features
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            leave_out(InputError(f"{clip.path}: its {what} cannot be computed ({reason})"))
            continue
        with replace_file(path) as file:
            np.savez(file, *arrays)
        take(clip, arrays)
    if skipped:
        say(f"{what}: {skipped} of {len(clips)} clips could not be read and were left out")
    return {clip: found[clip] for clip in clips if clip in found}


def _versions(
    clip: Clip, samples: NDArray[np.float32], copies: Copies, augmenter: Augmenter | None
) -> Iterator[NDArray[np.float32]]:
    yield samples
    if augmenter is not None:
        change = augmenter if copies.rooms else augmenter.voice
        for draw in copies.draws(clip.path.read_bytes()):
            yield change(samples, draw)


def _clip_key(clip: Clip, copies: Copies) -> str:
    try:
        content = clip.path.read_bytes()
    except OSError as error:
        raise InputError(f"{clip.path}: cannot be read ({error.strerror})") from error
    digest = hashlib.sha256(content)
    if copies.count:
        digest.update(repr((copies.draws(content), copies.rooms)).encode())
    return digest.hexdigest()[:32]


def _read(path: Path, n: int) -> list[NDArray[Any]] | None:
    """The ``n`` arrays in ``path``; None where it is missing or damaged."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            return [stored[f"arr_{index}"] for index in range(n)]
    # RuntimeError and TypeError: a damaged archive may look encrypted, or like no archive.
    except (
        OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, RuntimeError, TypeError,
    ) as error:  # fmt: skip
        say(f"{path}: damaged cache file ({error}); computed again")
        return None
