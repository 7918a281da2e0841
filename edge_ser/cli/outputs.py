"""Files that flags name for writing, looked at before any work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge_ser.errors import UsageError
from edge_ser.files import check_writable

__all__ = ["check_outputs"]


def check_outputs(outputs: Mapping[str, Path | None], source: Path | str | None = None) -> None:
    """Refuse what could not be written, or would destroy the input or another output.

    Args:
        outputs: by flag, without its dashes; None where the flag is not given.
        source: that is read, if it is a file.

    Raises:
        InputError, OutputError: a file cannot be written.
        UsageError: two names lead to the same file.
    """
    flags: dict[Path, str] = {}
    for flag, path in outputs.items():
        if path is None:
            continue
        check_writable(path)
        if source is not None and path.exists() and Path(source).exists() and path.samefile(source):
            raise UsageError(f"{path} is the input, too; writing to it would destroy it")
        place = path.resolve()
        if other := flags.get(place):
            raise UsageError(f"--{other} and --{flag} name the same file; give each its own")
        flags[place] = flag
