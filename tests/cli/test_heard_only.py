"""Which clips ``distill`` learns from without a label."""

from __future__ import annotations

from pathlib import Path

from edge_ser.cli.distill import heard_only
from edge_ser.cli.main import build_parser
from edge_ser.corpora import load_corpus


def test_clips_of_other_classes_are_heard_whether_their_corpus_is_tested_on_or_not(
    tmp_path: Path,
) -> None:
    names = {
        "emodb": ("03a01Wa", "03a01La"),  # anger and boredom
        "ravdess": ("03-01-05-01-01-01-01", "03-01-02-01-01-01-01"),  # anger and calm
        "tess": ("OAF_back_angry",),
    }
    for corpus, stems in names.items():
        (tmp_path / corpus).mkdir()
        for stem in stems:
            (tmp_path / corpus / f"{stem}.wav").touch()
    emodb, ravdess, tess = (f"{corpus}={tmp_path / corpus}" for corpus in names)
    arguments = [
        "distill",
        "--data",
        emodb,
        "--extra",
        ravdess,
        "--unlabelled",
        tess,
        "--out",
        "run",
    ]
    options = build_parser(arguments).parse_args(arguments)
    labelled = {
        clip
        for corpus in ("emodb", "ravdess")
        for clip in load_corpus(corpus, tmp_path / corpus).clips
        if clip.label == "anger"
    }
    found = [(clip.corpus, clip.label) for clip in heard_only(options, labelled)]
    assert found == [("emodb", "boredom"), ("ravdess", "calm"), ("tess", "")]
