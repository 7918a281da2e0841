"""Exit statuses of errors are an interface."""

from __future__ import annotations

import pytest

from edge_ser import errors


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.EdgeSerError, 1),
        (errors.UsageError, 2),
        (errors.InputError, 2),
        (errors.PackError, 2),
        (errors.BackendError, 2),
        (errors.MissingExtra, 2),
        (errors.GateMissed, 3),
    ],
)
def test_exit_status(kind: type[errors.EdgeSerError], status: int) -> None:
    assert kind.exit_status == status
    assert issubclass(kind, errors.EdgeSerError)


def test_a_missing_extra_says_how_to_get_it() -> None:
    error = errors.MissingExtra("soxr", "audio", "resample")
    assert str(error) == (
        "soxr is needed to resample; install it with: pip install 'edge-ser[audio]'"
    )
    assert (error.package, error.extra) == ("soxr", "audio")
