"""Packs as they arrive in the field: the bundled one under other versions, good and bad."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_ser.pack import Manifest, bundled_packs, open_pack, write_pack

__all__ = ["field_pack"]


def field_pack(
    out: Path,
    version: str = "9.1.0",
    *,
    files: Callable[[dict[str, bytes]], None] = lambda files: None,
    manifest: Callable[[Manifest], Manifest] = lambda manifest: manifest,
    **changes: Any,
) -> Path:
    """Write the bundled pack to ``out`` with another version and whatever is to be wrong."""
    if not bundled_packs():
        pytest.skip("this checkout has no bundled pack")
    pack = open_pack(bundled_packs()[0])
    content = {name: pack.read(name) for name in pack.manifest.files}
    files(content)
    write_pack(manifest(replace(pack.manifest, version=version, **changes)), content, out)
    return out
