"""Which of two versions of a pack is newer (PEP 440)."""

from __future__ import annotations

from typing import Any

from edge_ser.errors import PackError

__all__ = ["is_older", "sort_key"]


def is_older(version: str, than: str) -> bool:
    """Whether ``version`` comes before ``than``.

    Raises:
        PackError: one of them is no version that can be compared.
    """
    return bool(sort_key(version) < sort_key(than))


def sort_key(version: str) -> Any:
    """Something that sorts as versions do.

    Raises:
        PackError: ``version`` cannot be compared.
    """
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version)
    except InvalidVersion:
        raise PackError(
            f"version {version!r} is not made of numbers like 1.2.0, so nobody can tell whether it "
            "is newer; convert the pack with such a version"
        ) from None
