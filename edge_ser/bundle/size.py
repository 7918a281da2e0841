"""How large an installation is, and what it is made of.

``python -m edge_ser.bundle.size SITE_PACKAGES [--at-most MB]`` ends with 3 above the limit.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib.metadata import distributions
from pathlib import Path

__all__ = ["measure"]

_INSTALLERS = ("pip", "setuptools", "wheel")


def measure(site: Path) -> dict[str, int]:
    """Bytes of every distribution below ``site``, bytecode included, the largest first.

    Files that belong to none are listed as ``(other)``; pip and setuptools are left out, for no
    runtime needs them. A byte of a file is counted once.
    """
    owners: dict[str, str] = {}
    for item in distributions(path=[str(site)]):
        name = item.metadata["Name"].lower().replace("_", "-")
        for file in item.files or ():
            if file.parts and file.parts[0] not in ("..", "__pycache__"):
                owners.setdefault(file.parts[0], name)
    sizes: dict[str, int] = {}
    for path in site.rglob("*"):
        if path.is_file() and not path.is_symlink():
            name = owners.get(path.relative_to(site).parts[0], "(other)")
            if name not in _INSTALLERS:
                sizes[name] = sizes.get(name, 0) + path.stat().st_size
    return dict(sorted(sizes.items(), key=lambda row: -row[1]))


def main(arguments: list[str]) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("site", type=Path)
    parser.add_argument("--at-most", type=float, metavar="MB")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    sizes = measure(options.site)
    total = sum(sizes.values())
    if options.json:
        sys.stdout.write(json.dumps({"bytes": total, "distributions": sizes}, indent=1) + "\n")
    else:
        for name, size in sizes.items():
            sys.stdout.write(f"{size / 1e6:8.1f} MB  {name}\n")
        sys.stdout.write(f"{total / 1e6:8.1f} MB  all\n")
    if options.at_most is not None and total > options.at_most * 1e6:
        sys.stderr.write(f"{total / 1e6:.1f} MB are more than {options.at_most:g} MB\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
