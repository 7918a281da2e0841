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

__all__ = [
    "NAMINGS",
    "PROTOCOLS",
    "Clip",
    "Corpus",
    "Fold",
    "digest",
    "find_corpora",
    "load_corpus",
    "make_folds",
    "random_folds",
    "speaker_folds",
    "validation_split",
]
