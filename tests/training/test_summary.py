"""The summary of a cross-validation counts every test clip once, in its own corpus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="calibration needs onnx")

from edge_ser.corpora import Clip, make_folds
from edge_ser.training.results import FoldResult, summarise

LABELS = ("anger", "fear")


def clips_of(corpus: str, speakers: str) -> list[Clip]:
    return [
        Clip(Path(f"{corpus}{speaker}{label}.wav"), corpus, f"{corpus}:{speaker}", label, "")
        for speaker in speakers
        for label in LABELS
    ]


@pytest.mark.parametrize("protocol", ["held-out-corpus", "speaker-independent"])
def test_corpora_are_told_apart_under_every_protocol(protocol: str) -> None:
    """Each corpus is in one fold only where corpora are held out: the others have none of it."""
    clips = clips_of("emodb", "abcd") + clips_of("ravdess", "abcdefgh")
    folds = make_folds(protocol, clips, 4, 0, LABELS)
    results = []
    for fold in folds:
        logits = np.zeros((len(fold.test), 2), np.float32)
        for row, clip in zip(logits, fold.test, strict=True):
            row[LABELS.index(clip.label)] = 2.0  # right in EmoDB; RAVDESS is all anger
            if clip.corpus == "ravdess":
                row[:] = 2.0, 0.0
        heard = np.repeat(logits[:, None], 5, axis=1)
        heard[:, -1] = np.nan  # no clip is as long
        results.append(FoldResult(fold, logits, 1, heard))
    report = summarise(results, LABELS, 0)
    assert report["corpora"]["emodb"]["pooled"]["uar"] == 1.0
    assert report["corpora"]["ravdess"]["pooled"]["uar"] == 0.5
    for name, n in (("emodb", 8), ("ravdess", 16)):
        told = report["corpora"][name]
        assert told["pooled"]["n"] == sum(fold["n"] for fold in told["folds"]) == n
    assert len(report["corpora"]["emodb"]["folds"]) == (1 if protocol == "held-out-corpus" else 4)
