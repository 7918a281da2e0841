"""Flags that several verbs share."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from edge_ser.cli.bounds import MOST_THREADS, whole
from edge_ser.errors import UsageError

__all__ = ["add_json", "add_model", "add_seed", "corpus_folders", "open_recognizer", "print_json"]


def add_model(parser: argparse.ArgumentParser) -> None:
    """What decides which model runs on which engine."""
    parser.add_argument(
        "--pack", metavar="P", help="pack folder, .tar or id (default: the bundled pack)"
    )
    parser.add_argument(
        "--backend",
        default="auto",
        choices=["auto", "onnxruntime", "tensorrt", "tensorrt-rtx"],
        help="inference engine (default: auto)",
    )
    parser.add_argument(
        "--precision",
        default="auto",
        choices=["auto", "int8", "mixed", "fp16", "fp32"],
        help="model of the pack to take (default: auto, its first)",
    )
    parser.add_argument(
        "--threads",
        type=whole(1, MOST_THREADS),
        default=1,
        metavar="N",
        help="threads of one step (default: 1)",
    )
    parser.add_argument(
        "--engine", type=Path, metavar="FILE", help="built TensorRT engine (default: the cache)"
    )
    parser.add_argument(
        "--require-backend", metavar="B", help="fail unless this engine really computes"
    )
    parser.add_argument(
        "--allow-fallback",
        action="store_true",
        help="take onnxruntime when the backend cannot be used",
    )


def open_recognizer(options: argparse.Namespace) -> Any:
    """The recognizer that the flags of :func:`add_model` ask for."""
    from edge_ser.runtime import Recognizer

    return Recognizer.open(
        options.pack,
        backend=options.backend,
        precision=options.precision,
        threads=options.threads,
        require_backend=options.require_backend,
        allow_fallback=options.allow_fallback,
        node_profile=getattr(options, "node_profile", None),
        engine=options.engine,
    )


def add_json(parser: argparse.ArgumentParser, default: bool | str = False) -> None:
    """``--json``; ``default`` may be ``argparse.SUPPRESS``."""
    parser.add_argument(
        "--json", action="store_true", default=default, help="print one JSON document"
    )


def add_seed(parser: argparse.ArgumentParser, default: int | str = 0) -> None:
    """``--seed``; ``default`` may be ``argparse.SUPPRESS``."""
    parser.add_argument("--seed", type=whole(0), default=default, metavar="N", help="(default: 0)")


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    json.dump(document, sys.stdout, indent=1)
    sys.stdout.write("\n")


def corpus_folders(values: list[str], flag: str = "--data") -> dict[str, Path]:
    """``corpus=DIR`` flags as a mapping.

    Args:
        flag: that the values were given with, for messages.

    Raises:
        UsageError: a value has no ``=``, or a corpus stands twice.
    """
    folders: dict[str, Path] = {}
    for value in values:
        name, equals, folder = value.partition("=")
        if not equals or not name or not folder:
            raise UsageError(f"{flag} {value}: write it as corpus=DIR, for example emodb=~/emodb")
        if name in folders:
            raise UsageError(f"{flag}: {name} stands twice")
        try:
            folders[name] = Path(folder).expanduser()
        except RuntimeError as error:  # ~ of nobody, or of a user without a home
            raise UsageError(f"{flag} {value}: {error}") from error
    return folders
