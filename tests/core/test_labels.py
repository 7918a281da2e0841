"""The label set."""

from __future__ import annotations

import pytest

from edge_ser.labels import LABELS, SIX_LABELS, check_labels


def test_labels_are_those_of_the_interface_in_alphabetical_order() -> None:
    said = "anger, boredom, calm, disgust, fear, happiness, neutral, sadness, surprise"
    assert tuple(said.split(", ")) == LABELS
    assert list(LABELS) == sorted(LABELS)
    assert set(SIX_LABELS) < set(LABELS)


def test_good_labels_come_back_unchanged() -> None:
    assert check_labels(("neutral", "anger")) == ("neutral", "anger")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (("anger", "joy"), "unknown label 'joy'; known are anger"),
        (("anger", "fear", "anger"), "stands twice"),
        (("anger",), "at least two"),
        ((), "at least two"),
    ],
)
def test_bad_labels(labels: tuple[str, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_labels(labels)
