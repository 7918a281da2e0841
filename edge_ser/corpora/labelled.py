"""Corpora whose labels stand in files of their own: IEMOCAP, and any with a labels.csv."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edge_ser.corpora.clips import LABEL_FILE, Clip, Corpus, files_below, once_each
from edge_ser.corpora.naming import Naming
from edge_ser.errors import InputError
from edge_ser.labels import LABELS

__all__ = ["read_iemocap", "read_label_file", "turn_seconds"]

_COLUMNS = ("file", "speaker", "emotion")
# [6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]
_TURN = re.compile(
    r"\[(?P<begin>\d+(?:\.\d+)?) - (?P<end>\d+(?:\.\d+)?)\]\t(?P<name>\w+)\t(?P<emotion>\w+)\t"
)


def read_iemocap(naming: Naming, root: Path, files: Sequence[Path]) -> Corpus:
    """The corpus from the official folder tree.

    Audio is taken from ``Session*/sentences/wav``, labels from
    ``Session*/dialog/EmoEvaluation/*.txt``. The whole dialogues beside them are ignored.

    Raises:
        InputError: no label file, or one that contradicts itself or the audio.
    """
    evaluations = _evaluations(root)
    if not evaluations:
        raise InputError(
            f"{naming.title}: no Session*/dialog/EmoEvaluation/*.txt below {root}; point to the "
            "folder that holds Session1 to Session5"
        )
    emotion_of: dict[str, tuple[str, Path]] = {}
    for path in evaluations:
        for turn in _turns(path):
            known = emotion_of.setdefault(turn["name"], (turn["emotion"], path))
            if known[0] != turn["emotion"]:
                raise InputError(
                    f"{naming.title}: {turn['name']} is {known[0]!r} in {known[1].name} and "
                    f"{turn['emotion']!r} in {path.name}; copy the corpus again"
                )
    audio = [path for path in files if "sentences" in path.relative_to(root).parts]
    clips, foreign = [], []
    unused: Counter[str] = Counter()
    seen = set()
    for path in audio:
        match = naming.pattern.fullmatch(path.stem)
        if match is None:
            foreign.append(path)
            continue
        if path.stem not in emotion_of:
            raise InputError(
                f"{naming.title}: {path.stem} has audio but no line in EmoEvaluation; the label "
                "files do not belong to this audio, or some are missing"
            )
        seen.add(path.stem)
        label = naming.emotions.get(emotion_of[path.stem][0])
        if label is None:
            unused[emotion_of[path.stem][0]] += 1
            continue
        speaker = f"{naming.corpus}:{match['session']}{match['speaker']}"
        clips.append(Clip(path, naming.corpus, speaker, label, match["text"]))
    if not clips:
        raise InputError(
            f"{naming.title}: no clip named like {naming.example} below {root}; are the folders "
            "sentences/wav there?"
        )
    missing = tuple(sorted(set(emotion_of) - seen))
    clips, repeated = once_each(clips)
    return Corpus(
        naming, root, tuple(clips), tuple(foreign), dict(unused), missing, tuple(repeated)
    )


def turn_seconds(root: Path) -> dict[str, float]:
    """Length of each IEMOCAP turn as its label file tells it, by file name without ending."""
    return {
        turn["name"]: float(turn["end"]) - float(turn["begin"])
        for path in _evaluations(root)
        for turn in _turns(path)
    }


def _evaluations(root: Path) -> list[Path]:
    return sorted(
        path
        for path in files_below(root)
        if path.parts[-3:-1] == ("dialog", "EmoEvaluation")
        and path.suffix == ".txt"
        and not path.name.startswith("._")
    )


def _turns(path: Path) -> list[re.Match[str]]:
    try:
        text = path.read_text(encoding="latin-1")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    found = [match for line in text.splitlines() if (match := _TURN.match(line))]
    if not found:
        raise InputError(f"{path}: holds no turn like '[6.29 - 8.23]<TAB>Ses01F_…<TAB>neu'")
    return found


def read_label_file(naming: Naming, root: Path, files: Sequence[Path]) -> Corpus:
    """A corpus described by ``labels.csv`` with the columns ``file,speaker,emotion``.

    ``file`` is relative to the folder; ``emotion`` is the corpus's own code or one of
    ``edge_ser.labels.LABELS``. For copies of a corpus whose names do not say it.

    Raises:
        InputError: a column is missing, a row makes no sense, or two rows disagree.
    """
    table = root / LABEL_FILE
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            lacking = set(_COLUMNS) - set(reader.fieldnames or ())
            if lacking:
                raise InputError(
                    f"{table}: has no column {sorted(lacking)[0]!r}; its first line has to be "
                    f"{','.join(_COLUMNS)}"
                )
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: cannot be read as a table in UTF-8 ({error})") from error
    here = {path.relative_to(root).as_posix(): path for path in files}
    clips: dict[str, Clip] = {}
    told: dict[str, tuple[str, str]] = {}
    unused: Counter[str] = Counter()
    missing = []
    for number, row in enumerate(rows, start=2):
        name, speaker, emotion = ((row[key] or "").strip() for key in _COLUMNS)
        if not name or not speaker or not emotion:
            raise InputError(f"{table}: line {number} lacks a file, speaker or emotion")
        name = name.replace("\\", "/").removeprefix("./")
        if told.setdefault(name, (speaker, emotion)) != (speaker, emotion):
            raise InputError(f"{table}: line {number} contradicts an earlier one about {name}")
        if name not in here:
            missing.append(name)
            continue
        code = emotion if emotion in naming.emotions else emotion.lower()
        label = naming.emotions.get(code, code if code in LABELS else None)
        if label is None:
            unused[emotion] += 1
            continue
        clips[name] = Clip(here[name], naming.corpus, f"{naming.corpus}:{speaker}", label, "")
    if not clips:
        why = f"{len(missing)} files are not there, {unused.total()} have another emotion"
        raise InputError(f"{table}: names no clip below {root} with a known emotion; {why}")
    foreign = tuple(path for name, path in here.items() if name not in told)
    ordered = sorted(clips.values(), key=lambda clip: clip.path)
    return Corpus(naming, root, tuple(ordered), foreign, dict(unused), tuple(missing))
