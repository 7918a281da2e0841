"""``edge-ser pack``: list, describe and verify packs."""

from __future__ import annotations

import argparse

from edge_ser.cli.options import add_json, print_json
from edge_ser.pack import bundled_packs, open_pack

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``pack``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add_json(actions.add_parser("list", help="packs that can be named"))
    info = actions.add_parser("info", help="the contract of a pack")
    verify = actions.add_parser("verify", help="check every file of a pack")
    for sub in (info, verify):
        sub.add_argument("pack", nargs="?", help="folder, .tar or id (default: the bundled pack)")
        add_json(sub)


def execute(options: argparse.Namespace) -> int:
    """Do what ``options`` ask."""
    return {"list": _list, "info": _info, "verify": _verify}[options.action](options)


def _list(options: argparse.Namespace) -> int:
    rows = []
    for folder in bundled_packs():
        manifest = open_pack(folder).manifest
        rows.append(
            {
                "id": manifest.id,
                "version": manifest.version,
                "path": str(folder),
                "labels": list(manifest.labels),
                "precision": next(iter(manifest.targets.values())).precision,
                "bundled": True,
            }
        )
    if options.json:
        print_json({"packs": rows})
    else:
        for row in rows:
            print(f"{row['id']}@{row['version']}  {row['precision']}  {row['path']}")
    return 0


def _info(options: argparse.Namespace) -> int:
    pack = open_pack(options.pack)
    manifest = pack.manifest
    if options.json:
        print_json(manifest.to_dict())
        return 0
    spec = manifest.frontend
    print(f"{manifest.name}: {manifest.description}")
    print(f"  path        {pack.path}")
    print(f"  labels      {', '.join(manifest.labels)}")
    print(f"  input       {spec.rate_hz} Hz mono, steps of {spec.step_ms:g} ms")
    for name, target in manifest.targets.items():
        size = manifest.files[target.file].bytes
        print(
            f"  {name:<11} {target.precision}, {size / 1000:.0f} kB, "
            f"{len(target.states)} states, for {', '.join(target.backends)}"
        )
    calibration = manifest.calibration
    print(
        f"  confidence  temperature {calibration.temperature:.3f}, "
        f"abstains below {calibration.abstain_below:.2f} ({calibration.source})"
    )
    for corpus, terms in manifest.licences.items():
        print(f"  trained on  {corpus}: {terms}")
    print(f"  commercial  {'allowed' if manifest.commercial_use else 'NOT allowed by these terms'}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    pack = open_pack(options.pack)
    pack.verify()
    if options.json:
        print_json({"pack": pack.manifest.name, "whole": True, "files": len(pack.manifest.files)})
    else:
        print(f"{pack.manifest.name}: whole, {len(pack.manifest.files)} files")
    return 0
