"""Discriminants with a shrinkage of their own choice, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the reference is scikit-learn's")

from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from edge_ser.errors import InputError
from edge_ser.training.discriminant import Discriminant
from edge_ser.training.shrinkage import fit_shrunken, shrunken

LABELS = 3


def clips(n: int, values: int, seed: int, apart: float = 1.0) -> tuple[NDArray, NDArray]:  # type: ignore[type-arg]
    """``n`` clips of each label, ``(clips, values)``, and their label indices."""
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).normal(size=(values, values)) / np.sqrt(values)
    centres = apart * np.random.default_rng(1).normal(size=(LABELS, values))
    truth = np.repeat(np.arange(LABELS), n)
    return (centres[truth] + random.normal(size=(len(truth), values)) @ mixing * 3).astype(
        np.float32
    ), truth


@pytest.mark.parametrize("values", [8, 90], ids=["more clips than values", "fewer"])
@pytest.mark.parametrize("share", [0.1, 0.7])
def test_the_discriminants_are_those_of_linear_discriminant_analysis(
    values: int, share: float
) -> None:
    vectors, truth = clips(20, values, seed=3)
    (ours,) = shrunken(vectors, truth, LABELS, (share,))
    x = (vectors - vectors.mean(0, dtype=np.float64)) / vectors.std(0, dtype=np.float64)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=share).fit(x, truth)
    np.testing.assert_allclose(softmax(ours(vectors), axis=1), theirs.predict_proba(x), atol=1e-6)


def test_the_temperature_makes_probabilities_honest_on_new_clips() -> None:
    vectors, truth = clips(25, 300, seed=5, apart=0.3)
    fitted = fit_shrunken(vectors[:, None], truth, list(range(len(truth))), LABELS, seed=0)
    new, right = clips(400, 300, seed=6, apart=0.3)
    said = softmax(fitted.discriminant(new), axis=1)
    accuracy = np.mean(said.argmax(1) == right)
    assert 0.5 < accuracy < 0.97  # neither chance nor trivial
    assert abs(said.max(1).mean() - accuracy) < 0.1
    raw = softmax(fitted.discriminant.softened(1 / fitted.temperature)(new), axis=1)
    assert raw.max(1).mean() - accuracy > 0.02  # as they come, they are too sure


def test_a_group_is_left_out_as_a_whole() -> None:
    """Each speaker has a mark of its own that tells the label of all its clips.

    Learnt by heart it makes a speaker's other clips trivial, and new speakers no easier.
    """
    vectors, truth = clips(24, 20, seed=7, apart=0.2)
    speaker = np.arange(len(truth)) // 4
    marks = np.eye(speaker.max() + 1, dtype=np.float32)[speaker] * 30
    marked = np.concatenate([vectors, marks], axis=1)[:, None]
    honest = fit_shrunken(marked, truth, list(speaker), LABELS, seed=0)
    fooled = fit_shrunken(marked, truth, list(range(len(truth))), LABELS, seed=0)
    assert honest.temperature > 2 * fooled.temperature


def test_a_clip_is_judged_by_the_mean_over_its_voices() -> None:
    vectors, truth = clips(30, 40, seed=8)
    noise = np.random.default_rng(9).normal(size=(len(truth), 3, 40)).astype(np.float32) * 6
    voices = vectors[:, None] + noise - noise.mean(axis=1, keepdims=True)
    one = fit_shrunken(voices[:, :1], truth, list(range(len(truth))), LABELS, seed=0)
    all_ = fit_shrunken(voices, truth, list(range(len(truth))), LABELS, seed=0)
    assert all_.temperature < one.temperature  # their mean is worth more trust than any of them


def test_one_speaker_alone_leaves_nothing_to_choose_by() -> None:
    vectors, truth = clips(10, 5, seed=2)
    with pytest.raises(InputError, match="train on more speakers"):
        fit_shrunken(vectors[:, None], truth, ["only"] * len(truth), LABELS, seed=0)


def test_only_those_judged_choose_and_only_their_labels_are_kept() -> None:
    """The first label is a mess, which is no reason to doubt the other two."""
    vectors, truth = clips(40, 12, seed=8)
    random = np.random.default_rng(9)
    vectors[truth == 0] = vectors[random.permutation(len(truth))[:40]]
    everybody = list(range(len(truth)))
    voices = vectors[:, None]
    fitted = fit_shrunken(voices, truth, everybody, LABELS, 0, range(1, 3))
    unjudged = fit_shrunken(voices, truth, everybody, LABELS, 0)
    (whole,) = shrunken(vectors, truth, LABELS, (fitted.shrinkage,))
    logits = fitted.discriminant(vectors)
    np.testing.assert_allclose(logits * fitted.temperature, whole(vectors)[:, 1:])
    new, right = clips(400, 12, seed=10)
    new, right = new[right > 0], right[right > 0] - 1

    def surprise(judge: Discriminant) -> float:
        said = softmax(judge(new), axis=1)
        return float(-np.log(said[np.arange(len(right)), right]).mean())

    assert surprise(fitted.discriminant) < surprise(unjudged.discriminant.among(range(1, 3)))
