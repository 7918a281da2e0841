"""Find the clips of a corpus folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge_ser.corpora.naming import NAMINGS, Naming
from edge_ser.errors import InputError, UsageError

__all__ = [
    "AUDIO_SUFFIXES",
    "LABEL_FILE",
    "Clip",
    "Corpus",
    "audio_files",
    "digest",
    "files_below",
    "find_corpora",
    "load_corpus",
    "once_each",
]

AUDIO_SUFFIXES = (".wav", ".flac")
LABEL_FILE = "labels.csv"
"""A table ``file,speaker,emotion`` in the corpus folder; where it is, names do not matter."""


@dataclass(frozen=True)
class Clip:
    """One utterance of a corpus.

    Attributes:
        path: the audio file.
        corpus: name of the corpus.
        speaker: ``corpus:speaker``, unique over all corpora.
        label: one of ``edge_ser.labels.LABELS``.
        text: the corpus's code of the spoken sentence.
    """

    path: Path
    corpus: str
    speaker: str
    label: str
    text: str


@dataclass(frozen=True)
class Corpus:
    """The clips found under one folder, and what was left out.

    Attributes:
        naming: what is known of the corpus.
        root: the folder searched.
        clips: sorted by path.
        foreign: audio files whose name is not of this corpus.
        unused: files of the corpus with a label that is not used, by that label.
        missing: files that a label file tells of and that are not there.
        repeated: files left out because a clip of the same name stands in another folder or
            format, as where an archive was unpacked twice.
    """

    naming: Naming
    root: Path
    clips: tuple[Clip, ...]
    foreign: tuple[Path, ...]
    unused: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    repeated: tuple[Path, ...] = ()

    def left_out(self) -> list[str]:
        """What is not used and why, a line for each reason."""
        example = self.naming.example
        found = []
        for what, why in (
            ([path.name for path in self.foreign], f"audio files are not named like {example}"),
            (self.missing, "clips that the label files tell of are not here"),
            (
                [str(path) for path in self.repeated],
                "files have the name of another one in another folder or format",
            ),
        ):
            if what:
                found.append(
                    f"{self.naming.corpus}: {len(what)} {why} (first: {what[0]}); left out"
                )
        return found

    def where(self, keep: Callable[[Clip], bool]) -> Corpus:
        """The same corpus with only the clips for which ``keep`` is true."""
        return replace(self, clips=tuple(clip for clip in self.clips if keep(clip)))

    def with_labels(self, labels: Collection[str]) -> Corpus:
        """The same corpus with only the clips of ``labels``."""
        return self.where(lambda clip: clip.label in labels)


def load_corpus(name: str, root: Path | str) -> Corpus:
    """Read the corpus ``name`` from the folder ``root`` and its subfolders.

    Only names are read, no audio. Files of other kinds are ignored.

    Raises:
        UsageError: ``name`` is not a known corpus.
        InputError: the folder is missing, has no audio, or holds another corpus.
    """
    naming = NAMINGS.get(name)
    if naming is None:
        raise UsageError(f"unknown corpus {name!r}; known are {', '.join(NAMINGS)}")
    root = Path(root)
    files = audio_files(root, naming.title)
    if name == "iemocap" or (root / LABEL_FILE).is_file():
        from edge_ser.corpora import labelled

        if name == "iemocap":
            return labelled.read_iemocap(naming, root, files)
        return labelled.read_label_file(naming, root, files)
    clips, foreign = [], []
    for path in files:
        clip = _read_name(naming, path)
        if clip is None:
            foreign.append(path)
        else:
            clips.append(clip)
    if len(clips) <= len(foreign):
        raise InputError(
            f"{naming.title}: {len(foreign)} of {len(files)} audio files below {root} are not "
            f"named like {naming.example} (first: {foreign[0].name}); is it another corpus?"
        )
    clips, repeated = once_each(clips) if naming.n_parts < 3 else (clips, [])
    return Corpus(naming, root, tuple(clips), tuple(foreign), repeated=tuple(repeated))


def once_each(clips: Sequence[Clip]) -> tuple[list[Clip], list[Path]]:
    """The clips, of each name the first, and the files of the others.

    A second copy would count twice, and be heard in training and test where folds are random.
    """
    first: dict[tuple[str, str], Clip] = {}
    for clip in clips:
        first.setdefault((clip.speaker, clip.path.stem.upper()), clip)
    kept = set(first.values())
    return list(first.values()), [clip.path for clip in clips if clip not in kept]


def find_corpora(root: Path | str) -> list[Corpus]:
    """The corpora that ``root`` is or whose folders lie in it, told by their file names.

    Raises:
        InputError: there is no such folder, or nothing in it is named as in a known corpus.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder")
    whole = _first_fit(root)
    if whole is not None:
        return [whole]
    parts = [_first_fit(folder) for folder in sorted(root.iterdir()) if folder.is_dir()]
    found = [part for part in parts if part is not None]
    if not found:
        raise InputError(
            f"{root}: no audio here is named as in a known corpus ({', '.join(NAMINGS)}); "
            "name the corpus as well, for example emodb=DIR"
        )
    return found


def _first_fit(folder: Path) -> Corpus | None:
    for name in NAMINGS:
        try:
            return load_corpus(name, folder)
        except InputError:
            continue
    return None


def _read_name(naming: Naming, path: Path) -> Clip | None:
    seen = "/".join([*path.parts[-naming.n_parts : -1], path.stem])
    match = naming.pattern.fullmatch(seen)
    if match is None:
        return None
    label = naming.emotions.get(match["emotion"]) or naming.emotions.get(match["emotion"].lower())
    if label is None:
        return None
    return Clip(
        path=path,
        corpus=naming.corpus,
        speaker=f"{naming.corpus}:{match['speaker'].upper()}",
        label=label,
        text=match["text"],
    )


def audio_files(root: Path, title: str) -> list[Path]:
    """The audio files below ``root``, sorted.

    Args:
        title: of what they are, for messages.

    Raises:
        InputError: the folder is missing or has no audio.
    """
    if not root.is_dir():
        raise InputError(f"{title}: {root} is not a folder")
    files = sorted(
        path
        for path in files_below(root)
        # macOS leaves "._NAME" beside files on foreign disks and in archives.
        # A link to nowhere is a clip that was not copied.
        if path.suffix.lower() in AUDIO_SUFFIXES
        and path.name[:2] != "._"
        and (path.is_file() or not path.exists())
    )
    if not files:
        raise InputError(f"{title}: no .wav or .flac file below {root}")
    return files


def files_below(root: Path) -> Iterator[Path]:
    """Files below ``root``, through links to folders too.

    Raises:
        InputError: a folder cannot be read, which does not make it an empty one.
    """

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error

    seen = set()
    for folder, inner, names in os.walk(root, onerror=refuse, followlinks=True):
        inner.sort()
        real = os.path.realpath(folder)
        if real in seen:  # a link back, or a second way to the same folder
            inner.clear()
            continue
        seen.add(real)
        yield from (Path(folder) / name for name in names)


def digest(clips: Iterable[Clip], labels: Sequence[str]) -> str:
    """Sixteen hex digits of what is taught: clips, wherever they lie, and labels in order."""
    names = sorted(f"{clip.corpus}/{_own_name(clip)}/{clip.label}" for clip in clips)
    # A name may hold bytes of another encoding than this system's.
    taught = "\n".join([*labels, *names]).encode(errors="surrogateescape")
    return hashlib.sha256(taught).hexdigest()[:16]


def _own_name(clip: Clip) -> str:
    """The file's name, with the speaker where it does not say who that is (SAVEE's DC/n23.wav)."""
    speaker = clip.speaker.partition(":")[2]
    return clip.path.name if speaker in clip.path.name else f"{speaker}/{clip.path.name}"
