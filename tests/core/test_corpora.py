"""Readers of corpora: names in, clips out; wrong folders said so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_ser.corpora import NAMINGS, find_corpora, load_corpus
from edge_ser.errors import InputError, UsageError
from edge_ser.labels import LABELS


def touch(root: Path, names: Sequence[str]) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


@pytest.mark.parametrize(
    ("corpus", "file", "speaker", "label", "text"),
    [
        ("emodb", "03a01Fa.wav", "03", "happiness", "a01"),
        ("emodb", "wav/16b10Wb.flac", "16", "anger", "b10"),
        ("emodb", "08a02La.wav", "08", "boredom", "a02"),
        ("ravdess", "Actor_12/03-01-05-01-02-01-12.wav", "12", "anger", "02"),
        ("ravdess", "03-01-08-02-01-02-01.WAV", "01", "surprise", "01"),
        ("ravdess", "03-01-02-01-01-01-24.flac", "24", "calm", "01"),
        ("tess", "OAF_angry/OAF_back_angry.wav", "OAF", "anger", "back"),
        ("tess", "YAF_dog_ps.wav", "YAF", "surprise", "dog"),
    ],
)
def test_names(tmp_path: Path, corpus: str, file: str, speaker: str, label: str, text: str) -> None:
    (clip,) = load_corpus(corpus, touch(tmp_path, [file])).clips
    assert clip.path == tmp_path / file
    assert (clip.speaker, clip.label, clip.text) == (f"{corpus}:{speaker}", label, text)
    assert clip.corpus == corpus


def test_every_naming_reads_its_own_example_and_knows_only_our_labels(tmp_path: Path) -> None:
    for name, naming in NAMINGS.items():
        assert name == naming.corpus
        assert set(naming.emotions.values()) <= set(LABELS)
        assert naming.licence
        assert naming.citation
        if name == "iemocap":  # its labels stand in tables of their own, not in names
            continue
        example = naming.example.replace(",", " or").split(" or ")[0]
        (clip,) = load_corpus(name, touch(tmp_path / name, [example])).clips
        assert clip.label in LABELS


def test_other_files_are_ignored_and_foreign_audio_is_told_of(tmp_path: Path) -> None:
    names = ["03a01Fa.wav", "03a02Na.wav", "03a05Wa.wav", "intro.wav", "erklaerung.txt"]
    corpus = load_corpus("emodb", touch(tmp_path, names))
    assert [clip.path.name for clip in corpus.clips] == sorted(names[:3])
    assert [path.name for path in corpus.foreign] == ["intro.wav"]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "no .wav or .flac file below"),
        (["readme.txt", "a.mp3"], "no .wav or .flac file below"),
        (["03-01-05-01-02-01-12.wav", "03-01-05-01-02-01-13.wav"], "not named like 03a01Fa.wav"),
        (["03a01Xa.wav"], "1 of 1 audio files .* is it another corpus"),
        (["03a01Fa.wav", "x.wav", "y.wav"], "2 of 3 audio files"),
    ],
)
def test_wrong_folders(tmp_path: Path, names: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        load_corpus("emodb", touch(tmp_path, names))
    assert str(tmp_path) in str(caught.value)


def test_missing_folder_and_unknown_corpus(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        load_corpus("emodb", tmp_path / "none")
    with pytest.raises(UsageError, match="unknown corpus 'emo-db'; known are emodb, ravdess"):
        load_corpus("emo-db", tmp_path)


def test_a_folder_called_like_a_clip_is_no_clip(tmp_path: Path) -> None:
    (tmp_path / "03a02Na.wav").mkdir()
    corpus = load_corpus("emodb", touch(tmp_path, ["03a01Fa.wav"]))
    assert [clip.path.name for clip in corpus.clips] == ["03a01Fa.wav"]


def test_hidden_copies_of_other_systems_are_ignored(tmp_path: Path) -> None:
    names = ["03a01Fa.wav", "__MACOSX/._03a01Fa.wav", "._03a01Fa.wav"]
    corpus = load_corpus("emodb", touch(tmp_path, names))
    assert len(corpus.clips) == 1
    assert corpus.foreign == ()


def test_filters(tmp_path: Path) -> None:
    names = ["03a01Fa.wav", "03a02Na.wav", "08a05Wa.wav"]
    corpus = load_corpus("emodb", touch(tmp_path, names))
    assert [clip.label for clip in corpus.with_labels(["anger", "neutral"]).clips] == [
        "neutral",
        "anger",
    ]
    assert len(corpus.where(lambda clip: clip.speaker == "emodb:08").clips) == 1
    assert len(corpus.clips) == 3


def test_corpora_are_found_by_their_names(tmp_path: Path) -> None:
    touch(tmp_path / "a", ["03a01Fa.wav", "03a01Wa.wav"])
    touch(tmp_path / "b", ["03-01-05-01-02-01-12.wav"])
    touch(tmp_path / "c", ["holiday.wav"])
    assert [corpus.naming.corpus for corpus in find_corpora(tmp_path / "a")] == ["emodb"]
    assert [corpus.naming.corpus for corpus in find_corpora(tmp_path)] == ["emodb", "ravdess"]
    with pytest.raises(InputError, match="no audio here is named as in a known corpus"):
        find_corpora(tmp_path / "c")
    with pytest.raises(InputError, match="is not a folder"):
        find_corpora(tmp_path / "nowhere")
