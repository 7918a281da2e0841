"""Folds: no speaker on both sides, nothing lost, the same seed the same folds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ser.corpora import Clip, Fold, random_folds, speaker_folds, validation_split
from edge_ser.corpora.folds import make_folds
from edge_ser.errors import InputError, UsageError

LABELS = ("anger", "fear", "neutral")


def clips_of(corpus: str, n_speakers: int, each: int = 6) -> list[Clip]:
    return [
        Clip(Path(f"{corpus}-{s}-{i}.wav"), corpus, f"{corpus}:{s:02d}", LABELS[i % 3], "t")
        for s in range(n_speakers)
        for i in range(each)
    ]


def speakers(clips: tuple[Clip, ...]) -> set[str]:
    return {clip.speaker for clip in clips}


@given(n_folds=st.integers(2, 6), seed=st.integers(0, 50))
def test_speaker_folds_part_the_speakers_of_every_corpus(n_folds: int, seed: int) -> None:
    clips = clips_of("emodb", 10) + clips_of("ravdess", 24)
    folds = speaker_folds(clips, n_folds, seed)
    assert [fold.index for fold in folds] == list(range(n_folds))
    tested = [clip for fold in folds for clip in fold.test]
    assert sorted(tested, key=str) == sorted(clips, key=str)
    for fold in folds:
        assert fold.protocol == "speaker-independent"
        assert not speakers(fold.train) & speakers(fold.test)
        assert len(fold.train) + len(fold.test) == len(clips)
        assert {clip.corpus for clip in fold.test} == {"emodb", "ravdess"}
    assert speaker_folds(clips, n_folds, seed) == folds


def test_the_folds_of_a_corpus_do_not_depend_on_the_others_or_on_the_order() -> None:
    emodb, ravdess = clips_of("emodb", 10), clips_of("ravdess", 24)
    alone = [speakers(fold.test) for fold in speaker_folds(emodb, 5)]
    mixed = speaker_folds(ravdess + emodb[::-1], 5)
    together = [{s for s in speakers(fold.test) if s.startswith("emodb")} for fold in mixed]
    assert together == alone


def test_another_seed_deals_other_folds() -> None:
    clips = clips_of("emodb", 10)
    first, second = speaker_folds(clips, 5, seed=0), speaker_folds(clips, 5, seed=1)
    assert [speakers(f.test) for f in first] != [speakers(f.test) for f in second]


def test_too_few_speakers_or_folds() -> None:
    with pytest.raises(UsageError, match=r"tess has 2 speakers.*--folds 2"):
        speaker_folds(clips_of("emodb", 10) + clips_of("tess", 2), 5)
    with pytest.raises(UsageError, match="at least 2 folds"):
        speaker_folds(clips_of("emodb", 4), 1)
    with pytest.raises(UsageError, match="from 2 to 24 folds .*, not 1"):
        random_folds(clips_of("emodb", 4), 1)


@given(n_folds=st.integers(2, 6), seed=st.integers(0, 50))
def test_random_folds_are_stratified(n_folds: int, seed: int) -> None:
    clips = clips_of("emodb", 8)
    folds = random_folds(clips, n_folds, seed)
    assert sorted((c for f in folds for c in f.test), key=str) == sorted(clips, key=str)
    for label in LABELS:
        counts = [sum(clip.label == label for clip in fold.test) for fold in folds]
        assert max(counts) - min(counts) <= 1
    sizes = [len(fold.test) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


def test_more_folds_than_clips_is_said() -> None:
    with pytest.raises(UsageError, match="from 2 to 3 folds .*, not 5"):
        random_folds(clips_of("emodb", 1, each=3), 5)


def test_a_fold_that_lies_about_its_protocol_cannot_be_made() -> None:
    clips = tuple(clips_of("emodb", 1))
    with pytest.raises(InputError, match="emodb:00 is in its training and its test part"):
        Fold("speaker-independent", 0, clips[:3], clips[3:])
    Fold("random", 0, clips[:3], clips[3:])


@given(share=st.floats(0.01, 0.5), seed=st.integers(0, 50))
def test_validation_speakers_come_from_training_and_leave_it(share: float, seed: int) -> None:
    clips = clips_of("emodb", 10) + clips_of("tess", 2) + clips_of("ravdess", 12)
    train, held = validation_split(clips, share, seed)
    assert sorted((*train, *held), key=str) == sorted(clips, key=str)
    assert not speakers(train) & speakers(held)
    assert {clip.corpus for clip in held} == {"emodb", "ravdess"}
    assert {clip.corpus for clip in train} == {"emodb", "tess", "ravdess"}


def test_few_speakers_are_held_back_only_when_there_are_no_others() -> None:
    few = clips_of("emodb", 7)
    _, held = validation_split(few, 0.12)
    assert len(speakers(held)) == 1
    _, held = validation_split(few + clips_of("ravdess", 15), 0.12)
    assert {clip.corpus for clip in held} == {"ravdess"}


@pytest.mark.parametrize("share", [-0.1, 0.0, 1.0, 2.0])
def test_a_share_that_leaves_nothing_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="share"):
        validation_split(clips_of("emodb", 10), share)


def test_a_held_out_corpus_is_tested_on_and_never_trained_on() -> None:
    clips = [
        Clip(Path(f"{corpus}{speaker}{label}.wav"), corpus, f"{corpus}:{speaker}", label, "")
        for corpus in ("ravdess", "emodb", "tess")
        for speaker in "ab"
        for label in ("anger", "fear")
    ]
    folds = make_folds("held-out-corpus", clips, 4, 0, ("anger", "fear"))
    assert [{clip.corpus for clip in fold.test} for fold in folds] == [
        {"emodb"},
        {"ravdess"},
        {"tess"},
    ]
    for fold in folds:
        assert {clip.corpus for clip in fold.train} == {"emodb", "ravdess", "tess"} - {
            fold.test[0].corpus
        }
    with pytest.raises(UsageError, match="at least two corpora"):
        make_folds("held-out-corpus", clips[:4], 4, 0, ("anger", "fear"))
