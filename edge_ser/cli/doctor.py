"""``edge-ser doctor``: what this machine has, what would be used, and what to mend."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_ser.cli.options import add_json, print_json
from edge_ser.errors import InputError

__all__ = ["add_arguments", "execute"]

_MARKS = {"ok": "  ok ", "warn": "! warn", "fail": "X FAIL"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``doctor``."""
    parser.add_argument("--pack", metavar="P", help="pack to examine (default: the one in use)")
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="examine an unpacked support bundle instead"
    )
    parser.add_argument(
        "--support", type=Path, metavar="FILE", help="write a .tar.gz for support, naming nobody"
    )
    add_json(parser)


def execute(options: argparse.Namespace) -> int:
    """Do what ``options`` ask; 1 if something does not work."""
    from edge_ser.runtime.doctor import Tree, ask, examine, read_answers, write_support
    from edge_ser.runtime.doctor.answers import ANSWERS

    if options.root is None:
        tree, answers = Tree(), ask(options.pack)
    elif options.root.is_dir():
        tree, answers = Tree(options.root), read_answers(options.root / ANSWERS)
    else:
        raise InputError(f"--root {options.root}: there is no such folder")
    checks = examine(tree, answers)
    status = 1 if any(check.status == "fail" for check in checks) else 0
    files = []
    if options.support is not None:
        files = write_support(options.support, tree, answers, checks)
    if options.json:
        document: dict[str, object] = {
            "healthy": status == 0,
            "checks": [check.to_dict() for check in checks],
        }
        if options.support is not None:
            document["support"] = {"file": str(options.support), "contains": files}
        print_json(document)
        return status
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{_MARKS[check.status]:<6} {check.name:<{width}}  {check.detail}")
        if check.fix is not None:
            print(f"{'':{width + 7}}  -> {check.fix}")
    if options.support is not None:
        print(f"{options.support}: {len(files)} files; look at them before you send it")
    return status
