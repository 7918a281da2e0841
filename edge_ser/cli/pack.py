"""``edge-ser pack``: list, describe, verify, install and switch packs."""

from __future__ import annotations

import argparse

from edge_ser.cli.options import add_json, print_json
from edge_ser.cli.pack_field import ACTIONS, add_actions
from edge_ser.pack import Manifest, bundled_packs, open_pack

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``pack``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add_json(actions.add_parser("list", help="packs that can be named"))
    info = actions.add_parser("info", help="the contract of a pack")
    verify = actions.add_parser("verify", help="check every file of a pack")
    for sub in (info, verify):
        sub.add_argument("pack", nargs="?", help="folder, .tar or id (default: the pack in use)")
        add_json(sub)
    add_actions(actions)


def execute(options: argparse.Namespace) -> int:
    """Do what ``options`` ask."""
    actions = {"list": _list, "info": _info, "verify": _verify, **ACTIONS}
    return actions[options.action](options)


def _list(options: argparse.Namespace) -> int:
    from edge_ser.errors import PackError
    from edge_ser.store.store import PackStore

    store = PackStore()
    try:
        active, trouble = store.selection.active, None
    except PackError as error:
        active, trouble = "?", str(error)
    rows = []
    for folder in bundled_packs():
        manifest = open_pack(folder).manifest
        in_use = active is None and folder == bundled_packs()[0]
        rows.append(_row(manifest, str(folder), bundled=True, active=in_use))
    damaged = []
    for item in store.installed():
        if item.manifest is None:
            damaged.append({"name": item.name, "path": str(item.path), "problem": item.problem})
        else:
            rows.append(
                _row(item.manifest, str(item.path), bundled=False, active=item.name == active)
            )
    if options.json:
        print_json({"packs": rows, "damaged": damaged, "problem": trouble})
        return 0
    for row in rows:
        mark = "*" if row["active"] else " "
        where = "bundled" if row["bundled"] else row["path"]
        print(f"{mark} {row['id']}@{row['version']}  {row['precision']}  {where}")
    for bad in damaged:
        print(f"! {bad['name']}  damaged: {bad['problem']}")
    if trouble is not None:
        print(f"! {trouble}")
    return 0


def _row(manifest: Manifest, path: str, *, bundled: bool, active: bool) -> dict[str, object]:
    return {
        "id": manifest.id,
        "version": manifest.version,
        "path": path,
        "labels": list(manifest.labels),
        "precision": next(iter(manifest.targets.values())).precision,
        "bundled": bundled,
        "active": active,
    }


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
    from edge_ser.store.store import PackStore

    pack = open_pack(options.pack)
    pack.verify()
    bundled = pack.path in bundled_packs()
    signature = "came with edge-ser" if bundled else PackStore().signature_of(pack)
    if options.json:
        print_json(
            {
                "pack": pack.manifest.name,
                "whole": True,
                "files": len(pack.manifest.files),
                "signature": signature,
            }
        )
    else:
        print(f"{pack.manifest.name}: whole, {len(pack.manifest.files)} files, {signature}")
    return 0
