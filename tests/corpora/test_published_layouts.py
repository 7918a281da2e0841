"""Readers on trees made in the layout in which each corpus is published."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edge_ser.cli import main
from edge_ser.corpora import digest, load_corpus, make_folds
from edge_ser.corpora.folds import random_folds, random_validation_split, validation_split
from edge_ser.corpora.survey import check_lengths, survey
from edge_ser.corpora.twins import twins, without_twins
from edge_ser.errors import InputError, UsageError

RATE = 16_000


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def labels_of(name: str, root: Path) -> dict[str, tuple[str, str]]:
    """File name to (speaker, label)."""
    corpus = load_corpus(name, root)
    return {clip.path.name: (clip.speaker, clip.label) for clip in corpus.clips}


def test_savee_in_folders_and_flat(tmp_path: Path) -> None:
    for name in ("DC/a01", "DC/sa02", "DC/su03", "JE/n23", "JK/d04", "KL/f05", "KL/h15"):
        touch(tmp_path / "AudioData" / f"{name}.wav")
    touch(tmp_path / "AudioData" / "Info.txt")
    found = labels_of("savee", tmp_path)
    assert found == {
        "a01.wav": ("savee:DC", "anger"),
        "sa02.wav": ("savee:DC", "sadness"),
        "su03.wav": ("savee:DC", "surprise"),
        "n23.wav": ("savee:JE", "neutral"),
        "d04.wav": ("savee:JK", "disgust"),
        "f05.wav": ("savee:KL", "fear"),
        "h15.wav": ("savee:KL", "happiness"),
    }
    flat = tmp_path / "flat"
    touch(flat / "JE_sa07.wav")
    assert labels_of("savee", flat) == {"JE_sa07.wav": ("savee:JE", "sadness")}


def test_cremad(tmp_path: Path) -> None:
    codes = {
        "ANG": "anger",
        "DIS": "disgust",
        "FEA": "fear",
        "HAP": "happiness",
        "NEU": "neutral",
        "SAD": "sadness",
    }
    for code in codes:
        touch(tmp_path / "AudioWAV" / f"1091_WSI_{code}_XX.wav")
    touch(tmp_path / "AudioWAV" / "1040_ITH_SAD_X.wav")  # one file is published like this
    found = labels_of("cremad", tmp_path)
    for code, label in codes.items():
        assert found[f"1091_WSI_{code}_XX.wav"] == ("cremad:1091", label)
    assert found["1040_ITH_SAD_X.wav"] == ("cremad:1040", "sadness")
    assert {clip.text for clip in load_corpus("cremad", tmp_path).clips} == {"WSI", "ITH"}


@pytest.mark.parametrize(
    "name", ["wav/F07/F07_angry_001.wav", "angry/M03-012.wav", "m03_Angry_12.wav"]
)
def test_kesdy18_where_speaker_and_emotion_stand_differs(tmp_path: Path, name: str) -> None:
    path = touch(tmp_path / name)
    ((speaker, label),) = labels_of("kesdy18", tmp_path).values()
    assert label == "anger"
    assert speaker == ("kesdy18:F07" if "F07" in path.name else "kesdy18:M03")


def test_kesdy18_by_the_words_nearest_to_the_clip(tmp_path: Path) -> None:
    touch(tmp_path / "happy set" / "F01_sad_001.wav")
    touch(tmp_path / "unhappy" / "F02_001.wav")
    corpus = load_corpus("kesdy18", touch(tmp_path / "F02_neutral_2.wav").parent)
    assert sorted(clip.label for clip in corpus.clips) == ["neutral", "sadness"]
    assert [path.name for path in corpus.foreign] == ["F02_001.wav"]


def test_a_label_file_as_other_systems_write_it(tmp_path: Path) -> None:
    for index in range(3):
        touch(tmp_path / "wav" / f"{index}.wav")
    (tmp_path / "labels.csv").write_text(
        "file,speaker,emotion\r\nwav\\0.wav,s1,Angry\r\n./wav/1.wav,s2, sad\r\n"
    )
    corpus = load_corpus("kesdy18", tmp_path)
    assert [clip.label for clip in corpus.clips] == ["anger", "sadness"]


def test_kesdy18_with_a_label_file(tmp_path: Path) -> None:
    for index in range(3):
        touch(tmp_path / "wav" / f"{index}.wav")
    (tmp_path / "labels.csv").write_text(
        "file,speaker,emotion\nwav/0.wav,s1,angry\nwav/1.wav,s2,happiness\nwav/9.wav,s2,sad\n"
    )
    corpus = load_corpus("kesdy18", tmp_path)
    assert [(c.speaker, c.label) for c in corpus.clips] == [
        ("kesdy18:s1", "anger"),
        ("kesdy18:s2", "happiness"),
    ]
    assert corpus.missing == ("wav/9.wav",)
    assert [path.name for path in corpus.foreign] == ["2.wav"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,speaker\n0.wav,s1\n", "no column 'emotion'"),
        ("file,speaker,emotion\n0.wav,,angry\n", "line 2 lacks"),
        ("file,speaker,emotion\n0.wav,s1,angry\n0.wav,s1,sad\n", "line 3 contradicts"),
        ("file,speaker,emotion\n0.wav,s1,hungry\n0.wav,s1,sad\n", "line 3 contradicts"),
        ("file,speaker,emotion\n0.wav,s1,hungry\n", "no clip.*1 have another emotion"),
    ],
)
def test_wrong_label_files_are_refused(tmp_path: Path, table: str, message: str) -> None:
    touch(tmp_path / "0.wav")
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        load_corpus("kesdy18", tmp_path)


TURNS = (
    # session, dialogue's speaker, scene, turn, code
    (1, "F", "impro01", "F000", "neu"),
    (1, "F", "impro01", "M001", "fru"),
    (1, "M", "script01_1", "F002", "exc"),
    (2, "F", "impro02", "F000", "hap"),
    (2, "F", "impro02", "M000", "ang"),
    (2, "F", "impro02", "M001", "xxx"),
    (3, "M", "impro03", "M000", "sad"),
)


def write_iemocap(root: Path, turns: Sequence[tuple[int, str, str, str, str]] = TURNS) -> Path:
    """Session folders with sentences, dialogues and EmoEvaluation as USC ships them."""
    lines: dict[Path, list[str]] = {}
    for session, gender, scene, turn, code in turns:
        dialogue = f"Ses0{session}{gender}_{scene}"
        base = root / f"Session{session}"
        touch(base / "sentences" / "wav" / dialogue / f"{dialogue}_{turn}.wav")
        touch(base / "dialog" / "wav" / f"{dialogue}.wav")
        touch(base / "dialog" / "EmoEvaluation" / f"._{dialogue}.txt")
        table = base / "dialog" / "EmoEvaluation" / f"{dialogue}.txt"
        lines.setdefault(
            table, ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
        ).extend(
            [
                f"[6.2901 - 8.2357]\t{dialogue}_{turn}\t{code}\t[2.5000, 2.5000, 2.5000]",
                "C-E2:\tNeutral;\t()",
                "A-E3:\tval 3; act 2; dom  2;\t()",
                "",
            ]
        )
    for table, text in lines.items():
        table.write_text("\n".join(text))
    return root


def test_iemocap_merges_happiness_and_excitement(tmp_path: Path) -> None:
    corpus = load_corpus("iemocap", write_iemocap(tmp_path))
    assert {(c.path.stem, c.speaker, c.label) for c in corpus.clips} == {
        ("Ses01F_impro01_F000", "iemocap:Ses01F", "neutral"),
        ("Ses01M_script01_1_F002", "iemocap:Ses01F", "happiness"),
        ("Ses02F_impro02_F000", "iemocap:Ses02F", "happiness"),
        ("Ses02F_impro02_M000", "iemocap:Ses02M", "anger"),
        ("Ses03M_impro03_M000", "iemocap:Ses03M", "sadness"),
    }
    assert corpus.unused == {"fru": 1, "xxx": 1}
    assert not corpus.foreign


def test_iemocap_half_copied(tmp_path: Path) -> None:
    root = write_iemocap(tmp_path)
    next(root.rglob("Ses02F_impro02_M000.wav")).unlink()
    assert load_corpus("iemocap", root).missing == ("Ses02F_impro02_M000",)
    next(root.rglob("Ses03M_impro03.txt")).unlink()
    with pytest.raises(InputError, match="no line in EmoEvaluation"):
        load_corpus("iemocap", root)
    broken = next(root.rglob("Ses02F_impro02.txt"))
    broken.write_text(broken.read_text().replace("[6.2901", "[6.2.9", 1))
    with pytest.raises(InputError, match="no line in EmoEvaluation"):
        survey(load_corpus("iemocap", root), read_audio=True)
    for path in root.rglob("EmoEvaluation/*"):
        path.unlink()
    with pytest.raises(InputError, match=r"no Session\*/dialog/EmoEvaluation"):
        load_corpus("iemocap", root)


def test_iemocap_labels_that_contradict_themselves(tmp_path: Path) -> None:
    root = write_iemocap(tmp_path)
    table = next(root.rglob("Ses01F_impro01.txt"))
    again = table.read_text().replace("\tneu\t", "\tang\t")
    (table.parent / "Ses01F_impro01_copy.txt").write_text(again)
    with pytest.raises(InputError, match="is 'neu' in"):
        load_corpus("iemocap", root)


def test_iemocap_leaves_one_session_out(tmp_path: Path) -> None:
    turns = [
        (session, gender, "impro01", f"{gender}00{index}", code)
        for session in (1, 2, 3)
        for gender in "FM"
        for index, code in enumerate(("ang", "hap", "neu", "sad"))
    ]
    clips = load_corpus("iemocap", write_iemocap(tmp_path, turns)).clips
    labels = ("anger", "happiness", "neutral", "sadness")
    folds = make_folds("leave-one-session-out", clips, 0, 0, labels)
    tested = [sorted({clip.speaker for clip in fold.test}) for fold in folds]
    assert tested == [[f"iemocap:Ses0{n}F", f"iemocap:Ses0{n}M"] for n in (1, 2, 3)]
    folds = make_folds("leave-one-speaker-out", clips, 0, 0, labels)
    assert [len({clip.speaker for clip in fold.test}) for fold in folds] == [1] * 6


def emodb(root: Path, speakers: Sequence[str] = ("03", "08"), codes: str = "WLEAFTN") -> Path:
    for speaker in speakers:
        for code in codes:
            touch(root / f"{speaker}a01{code}a.wav")
    return root


def test_protocols_name_what_they_cannot_do(tmp_path: Path) -> None:
    clips = load_corpus("emodb", emodb(tmp_path)).clips
    with pytest.raises(UsageError, match="has no sessions"):
        make_folds("leave-one-session-out", clips, 2, 0, ("anger", "fear"))
    with pytest.raises(UsageError, match="unknown protocol"):
        make_folds("leave-all-in", clips, 2, 0, ("anger", "fear"))
    with pytest.raises(InputError, match="no surprise to train on"):
        make_folds("speaker-independent", clips, 2, 0, ("anger", "surprise"))


def test_a_class_that_a_fold_cannot_test_is_an_error(tmp_path: Path) -> None:
    emodb(tmp_path, ("03", "08", "09"))
    (tmp_path / "08a01Ea.wav").unlink()
    clips = load_corpus("emodb", tmp_path).clips
    labels = ("anger", "disgust", "fear")
    with pytest.raises(InputError, match="no disgust of emodb to test on"):
        make_folds("speaker-independent", clips, 3, 0, labels)
    assert len(make_folds("leave-one-speaker-out", clips, 0, 0, labels)) == 3


def test_survey_counts_and_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile = pytest.importorskip("soundfile")
    root = emodb(tmp_path, ("03", "08"))
    for path in root.glob("*.wav"):
        soundfile.write(path, np.full(RATE // 2, 0.1, np.float32), RATE)
    (root / "03a01Na.wav").unlink()
    (root / "08a01Wa.wav").write_bytes(b"RIFF, not really")
    touch(root / "holiday.wav")
    found = survey(load_corpus("emodb", root), read_audio=True)
    assert not found.whole
    assert found.gaps() == [
        "13 of 535 clips are here",
        "2 of 10 speakers are here",
        "emodb:03 has no neutral",
    ]
    assert found.seconds == pytest.approx(12 * 0.5)
    assert main(["corpus", "check", str(root), "--corpus", "emodb", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["n"] == 13
    assert report["labels"]["anger"] == 2
    assert report["speakers"]["emodb:08"]["boredom"] == 1
    assert [Path(path).name for path in report["refused"]] == ["holiday.wav"]
    assert report["unreadable"] is None
    assert main(["corpus", "check", str(root), "--corpus", "emodb", "--read-audio"]) == 2
    shown = capsys.readouterr().out
    assert "unreadable: 1" in shown
    assert "08a01Wa.wav" in shown


def test_audio_that_contradicts_its_label_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile = pytest.importorskip("soundfile")
    root = write_iemocap(tmp_path)
    for path in root.rglob("sentences/wav/*/*.wav"):
        seconds = 5.0 if path.stem == "Ses02F_impro02_F000" else 1.9456
        soundfile.write(path, np.zeros(round(seconds * RATE), np.float32), RATE)
    found = survey(load_corpus("iemocap", root), read_audio=True)
    assert len(found.contradicted) == 1
    assert (
        "Ses02F_impro02_F000.wav: lasts 5.00 s, its label file says 1.95 s" in found.contradicted[0]
    )
    assert found.silent is not None
    assert len(found.silent) == 5
    corpus = load_corpus("iemocap", root)
    with pytest.raises(InputError, match="so do 1 of 5 clips: the label files are of other audio"):
        check_lengths(corpus)
    monkeypatch.setattr("edge_ser.corpora.survey._FEW", 0.5)
    assert check_lengths(corpus) == list(found.contradicted)
    next(root.rglob("Ses02F_impro02_F000.wav")).write_bytes(b"torn")
    assert check_lengths(corpus) == []


def test_another_corpus_is_refused(tmp_path: Path) -> None:
    emodb(tmp_path)
    with pytest.raises(InputError, match="is it another corpus"):
        load_corpus("cremad", tmp_path)
    assert main(["corpus", "check", str(tmp_path), "--corpus", "cremad"]) == 2


def test_the_same_audio_never_stands_on_both_sides(tmp_path: Path) -> None:
    root = emodb(tmp_path, ("03", "08", "09"), "WA")
    for index, path in enumerate(sorted(root.glob("*.wav"))):
        path.write_bytes(b"RIFF%04d" % index)
    (root / "08a01Wa.wav").write_bytes((root / "03a01Wa.wav").read_bytes())
    clips = load_corpus("emodb", root).clips
    assert [[c.path.name for c in g] for g in twins(clips)] == [["03a01Wa.wav", "08a01Wa.wav"]]
    folds = make_folds("leave-one-speaker-out", clips, 0, 0, ("anger", "fear"))
    cleaned, extra, said = without_twins(folds, clips[1:2])  # 03a01Wa
    for fold in cleaned:
        tested = {clip.path.read_bytes() for clip in fold.test}
        assert not tested & {clip.path.read_bytes() for clip in fold.train}
    assert [len(fold.test) for fold in cleaned] == [2, 2, 2]
    assert [len(fold.train) for fold in cleaned] == [3, 3, 4]
    assert extra == []
    assert "fold 0: 08a01Wa.wav left out of training" in said[0]
    (root / "09a01Aa.wav").write_bytes((root / "03a01Wa.wav").read_bytes())
    _, _, said = without_twins(folds, [])
    assert said[0].startswith("the same audio has two labels: ")
    for path in root.glob("*.wav"):
        path.write_bytes(b"RIFF of nothing")
    with pytest.raises(InputError, match="fold 0: all of its training clips have the very audio"):
        without_twins(folds, [])
    assert set(said[0].split(": ")[1].split(" = ")) == {
        "03a01Wa.wav", "08a01Wa.wav", "09a01Aa.wav",
    }  # fmt: skip


def test_a_corpus_that_was_unpacked_twice_counts_once(tmp_path: Path) -> None:
    emodb(tmp_path / "wav")
    emodb(tmp_path / "wav" / "again" / "wav")
    touch(tmp_path / "wav" / "03a01Wa.flac")
    corpus = load_corpus("emodb", tmp_path)
    assert len(corpus.clips) == 14
    assert len(corpus.repeated) == 15
    assert corpus.left_out()[0].startswith("emodb: 15 files have the name of another one")
    twice = write_iemocap(tmp_path / "usc")
    once = load_corpus("iemocap", twice).clips
    write_iemocap(tmp_path / "usc" / "IEMOCAP_full_release")
    again = load_corpus("iemocap", twice)
    assert [clip.path.name for clip in again.clips] == [clip.path.name for clip in once]
    assert len(again.repeated) == len(once)


def test_links_are_followed_and_dead_ones_are_clips(tmp_path: Path) -> None:
    emodb(tmp_path / "elsewhere", ("03",))
    root = emodb(tmp_path / "root", ("08",))
    (root / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(root)
    (root / "09a01Wa.wav").symlink_to(tmp_path / "never copied.wav")
    clips = load_corpus("emodb", root).clips
    assert len(clips) == 15
    assert {clip.speaker for clip in clips} == {"emodb:03", "emodb:08", "emodb:09"}
    assert not twins(clips)  # all are empty or away, and no error


def test_what_was_taught_is_told_by_speakers_too(tmp_path: Path) -> None:
    for speaker in ("DC", "JE"):
        for name in ("a01", "n02"):
            touch(tmp_path / speaker / f"{name}.wav")
    clips = load_corpus("savee", tmp_path).clips
    assert digest(clips[:2], ("anger",)) != digest(clips[2:], ("anger",))
    korean = tmp_path / "ko" / "F01_angry_\udcbe\udcc8.wav"  # a name in EUC-KR
    assert digest(load_corpus("kesdy18", touch(korean).parent).clips, ("anger",))


def test_validation_and_random_folds_that_cannot_be(tmp_path: Path) -> None:
    clips = load_corpus("emodb", emodb(tmp_path, ("03",))).clips
    with pytest.raises(UsageError, match="no speaker can be held back"):
        validation_split(clips, 0.2)
    assert len(random_validation_split(clips, 0.01)[1]) == 1
    with pytest.raises(UsageError, match="from 2 to 7 folds"):
        random_folds(clips, 8)
