"""``edge-ser corpus``: see what a corpus folder holds before training on it."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_ser.cli.options import add_json, print_json
from edge_ser.corpora.naming import NAMINGS

__all__ = ["add_arguments", "execute"]

_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``corpus``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = actions.add_parser("check", help="speakers, labels, what is missing or refused")
    check.add_argument("folder", type=Path, metavar="DIR", help="searched with its subfolders")
    check.add_argument("--corpus", required=True, metavar="NAME", help=", ".join(NAMINGS))
    check.add_argument(
        "--read-audio", action="store_true", help="also decode every clip (slow on large corpora)"
    )
    add_json(check)


def execute(options: argparse.Namespace) -> int:
    """Check the folder; 2 when a clip cannot be read or contradicts its label file."""
    from edge_ser.corpora import load_corpus
    from edge_ser.corpora.survey import survey

    found = survey(load_corpus(options.corpus, options.folder), read_audio=options.read_audio)
    report = found.to_dict()
    if options.json:
        print_json(report)
    else:
        _show(report)
    return 2 if found.unreadable or found.contradicted else 0


def _show(report: dict[str, object]) -> None:
    speakers = report["speakers"]
    labels = report["labels"]
    assert isinstance(speakers, dict)
    assert isinstance(labels, dict)
    print(f"{report['corpus']}: {report['n']} clips of {len(speakers)} speakers")
    width = max(len(name) for name in speakers)
    print(" " * width + "".join(f"{label:>11}" for label in labels))
    for speaker, row in speakers.items():
        print(f"{speaker:<{width}}" + "".join(f"{row.get(label, 0):>11}" for label in labels))
    print(f"{'all':<{width}}" + "".join(f"{count:>11}" for count in labels.values()))
    if report["seconds"] is not None:
        print(f"audio: {report['seconds']:.0f} s")
    for key, title in (
        ("gaps", "incomplete"),
        ("missing", "in the label files but not here"),
        ("refused", "refused, not of this corpus"),
        ("repeated", "left out, the name of another one in another folder or format"),
        ("unreadable", "unreadable"),
        ("silent", "without any sound"),
        ("contradicted", "contradicts its label file"),
        ("twins", "the very same audio under several names"),
    ):
        entries = report[key]
        if not isinstance(entries, list) or not entries:
            continue
        print(f"{title}: {len(entries)}")
        for entry in entries[:_SHOWN]:
            print(f"  {entry}")
        if len(entries) > _SHOWN:
            print(f"  … and {len(entries) - _SHOWN} more (--json lists all)")
    if report["unused_labels"]:
        print(f"labels that are not used: {report['unused_labels']}")
