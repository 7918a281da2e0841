"""Readers of emotional speech corpora and the folds that keep speakers apart."""

from __future__ import annotations

from edge_ser.corpora.clips import Clip, Corpus, digest, find_corpora, load_corpus
from edge_ser.corpora.folds import (
    PROTOCOLS,
    Fold,
    make_folds,
    random_folds,
    speaker_folds,
    validation_split,
)
from edge_ser.corpora.naming import NAMINGS
from edge_ser.corpora.speech import SPEECH, load_speech

__all__ = [
    "NAMINGS",
    "PROTOCOLS",
    "SPEECH",
    "Clip",
    "Corpus",
    "Fold",
    "digest",
    "find_corpora",
    "load_corpus",
    "load_speech",
    "make_folds",
    "random_folds",
    "speaker_folds",
    "validation_split",
]
