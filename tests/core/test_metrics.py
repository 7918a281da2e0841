"""Metrics against scikit-learn."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ser.labels import SIX_LABELS
from edge_ser.metrics import expected_calibration_error, score

sklearn_metrics = pytest.importorskip(
    "sklearn.metrics", reason="the reference, scikit-learn, is not installed"
)


@settings(max_examples=60)
@given(n=st.integers(1, 200), seed=st.integers(0, 1000), n_present=st.integers(1, 6))
def test_figures_are_those_of_scikit_learn(n: int, seed: int, n_present: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_present, n)
    probabilities = rng.dirichlet(np.full(6, 0.3), n)
    predicted = probabilities.argmax(axis=1)
    scores = score(truth, probabilities, SIX_LABELS)
    occurring = sorted(set(truth.tolist()))

    assert scores.accuracy == pytest.approx(sklearn_metrics.accuracy_score(truth, predicted))
    each = {"average": None, "labels": range(6), "zero_division": 0.0}
    recall_of = sklearn_metrics.recall_score(truth, predicted, **each)
    precision_of = sklearn_metrics.precision_score(truth, predicted, **each)
    f1_of = sklearn_metrics.f1_score(truth, predicted, **each)
    assert scores.uar == pytest.approx(recall_of[occurring].mean())
    assert scores.macro_f1 == pytest.approx(f1_of[occurring].mean())
    matrix = sklearn_metrics.confusion_matrix(truth, predicted, labels=range(6))
    assert np.array_equal(scores.confusion, matrix)
    for index, label in enumerate(SIX_LABELS):
        figures = scores.per_class()[label]
        assert figures["recall"] == pytest.approx(recall_of[index])
        assert figures["precision"] == pytest.approx(precision_of[index])
        assert figures["f1"] == pytest.approx(f1_of[index])
        assert figures["n"] == (truth == index).sum()


def test_calibration_error_by_hand() -> None:
    # Two bins: ten answers at 0.95, of which six are right; four at 0.55, of which one is.
    confidence = np.array([0.95] * 10 + [0.55] * 4)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    truth = np.array([0] * 6 + [1] * 4 + [0] + [1] * 3)
    expected = 10 / 14 * abs(0.95 - 0.6) + 4 / 14 * abs(0.55 - 0.25)
    assert expected_calibration_error(truth, probabilities) == pytest.approx(expected)


def test_honest_confidence_has_a_small_calibration_error() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(4, 0.5), 20000)
    truth = np.array([rng.choice(4, p=row) for row in probabilities])
    assert expected_calibration_error(truth, probabilities) < 0.02
    wrong = np.roll(probabilities, 1, axis=1)
    assert expected_calibration_error(truth, wrong) > 0.2


def test_certainty_falls_into_the_last_bin() -> None:
    probabilities = np.eye(3)[[0, 1, 2, 0]]
    assert expected_calibration_error(np.array([0, 1, 2, 0]), probabilities) == 0.0


def test_json_has_the_keys_of_eval() -> None:
    document = json.loads(
        json.dumps(score([0, 1, 1], np.eye(2)[[0, 1, 0]], ("anger", "fear")).to_dict())
    )
    assert {"n", "accuracy", "uar", "macro_f1", "ece", "per_class", "confusion", "labels"} <= set(
        document
    )
    assert document["confusion"] == {"labels": ["anger", "fear"], "matrix": [[1, 0], [1, 1]]}
    assert document["uar"] == pytest.approx(0.75)


@pytest.mark.parametrize(("truth", "shape"), [([], (0, 2)), ([0, 1], (3, 2)), ([0], (1, 3))])
def test_nothing_to_score(truth: list[int], shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="cannot score"):
        score(truth, np.full(shape, 0.5), ("anger", "fear"))


def test_a_label_out_of_range_or_a_probability_that_is_none() -> None:
    with pytest.raises(ValueError, match="label"):
        score([-1], np.full((1, 2), 0.5), ("anger", "fear"))
    with pytest.raises(ValueError, match="label"):
        score([2], np.full((1, 2), 0.5), ("anger", "fear"))
    with pytest.raises(ValueError, match="finite"):
        score([1], np.array([[np.nan, 0.5]]), ("anger", "fear"))
