"""Readers of emotional speech corpora and the folds that keep speakers apart."""

from __future__ import annotations

from edge_ser.corpora.clips import Clip, Corpus, load_corpus
from edge_ser.corpora.folds import Fold, random_folds, speaker_folds, validation_split
from edge_ser.corpora.naming import NAMINGS

__all__ = [
    "NAMINGS",
    "Clip",
    "Corpus",
    "Fold",
    "load_corpus",
    "random_folds",
    "speaker_folds",
    "validation_split",
]
