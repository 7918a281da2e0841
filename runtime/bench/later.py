"""What a benchmark measures after the single stream; what fails there takes nothing with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_ser.errors import EdgeSerError

__all__ = ["Later", "measure_later"]


@dataclass
class Later:
    """What came of the later parts.

    Attributes:
        found: by part, what it measured.
        missing: by part, why there is nothing of it.
        failure: what ended the first of those that are missing, None if none is. After a
            ``KeyboardInterrupt`` no further part was begun.
    """

    found: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    failure: BaseException | None = None


def measure_later(parts: Mapping[str, Callable[[], Any]]) -> Later:
    """Call every one of ``parts`` in turn and keep what each returns.

    Minutes of measuring may lie behind, so neither an error nor Ctrl-C is raised from here.
    """
    later = Later()
    for name, measure in parts.items():
        if isinstance(later.failure, KeyboardInterrupt):
            later.missing[name] = "interrupted"
            continue
        try:
            later.found[name] = measure()
        except KeyboardInterrupt as interrupt:
            later.missing[name] = "interrupted"
            later.failure = interrupt
        except Exception as error:
            words = str(error) if isinstance(error, EdgeSerError) else repr(error)
            later.missing[name] = words
            later.failure = later.failure or error
    return later
