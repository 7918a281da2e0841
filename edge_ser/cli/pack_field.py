"""``edge-ser pack install, use, rollback, remove, sign, attempt, confirm``."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_ser.cli.options import add_json, print_json
from edge_ser.errors import GateMissed, InputError, UsageError

if TYPE_CHECKING:
    from edge_ser.store.store import PackStore

__all__ = ["ACTIONS", "add_actions"]


def add_actions(actions: Any) -> None:
    """Flags of every action."""
    install = actions.add_parser("install", help="verify, try and put a pack to use, offline")
    install.add_argument("file", metavar="FILE", help=".tar or folder")
    install.add_argument("--allow-older", action="store_true", help="take an older version")
    install.add_argument("--no-use", action="store_true", help="install, but do not switch to it")
    use = actions.add_parser("use", help="switch to an installed pack")
    use.add_argument("name", metavar="ID@VERSION", help="as pack list shows it, or: bundled")
    rollback = actions.add_parser("rollback", help="back to the pack before this one")
    for sub in (install, use):
        sub.add_argument(
            "--backend",
            default="auto",
            choices=["auto", "onnxruntime", "tensorrt", "tensorrt-rtx"],
            help="engine to try it on (default: auto)",
        )
        sub.add_argument(
            "--max-step-ms",
            type=float,
            metavar="MS",
            help="of the model, median (default: half a step)",
        )
    for sub in (install, use, rollback):
        sub.add_argument(
            "--restart", metavar="UNIT", help="restart this service; go back if it does not come up"
        )
    remove = actions.add_parser("remove", help="delete an installed pack that is not in use")
    remove.add_argument("name", metavar="ID@VERSION")
    attempt = actions.add_parser("attempt", help="before a service starts: is the pack good?")
    confirm = actions.add_parser("confirm", help="after a service started: the pack is good")
    for sub in (install, use, rollback, remove, attempt, confirm):
        sub.add_argument(
            "--wait", type=float, default=30.0, metavar="S", help="for another process (30)"
        )
        add_json(sub)
    sign = actions.add_parser("sign", help="sign a pack with an Ed25519 key")
    sign.add_argument("pack", type=Path, metavar="PACK", help="folder or .tar, signed in place")
    sign.add_argument("--key", type=Path, required=True, metavar="PEM", help="private key")
    add_json(sign)


def _install(options: argparse.Namespace) -> int:
    store, check = _store(options), _Trial(options)
    before = _active(store)
    name = store.install(
        options.file, check, allow_older=options.allow_older, activate=not options.no_use
    )
    if options.no_use:
        return _tell(options, store, f"{name} is installed, not in use", check)
    _restart(options, store, before)
    return _tell(options, store, f"{name} is installed and in use", check)


def _use(options: argparse.Namespace) -> int:
    store, check = _store(options), _Trial(options)
    before = _active(store)
    store.use(options.name, check)
    _restart(options, store, before)
    return _tell(options, store, f"{options.name} is in use", check)


def _rollback(options: argparse.Namespace) -> int:
    store = _store(options)
    before = _active(store)
    name = store.rollback()
    if options.restart:
        _systemctl(options.restart)
    return _tell(options, store, f"{name} is in use again instead of {before}")


def _remove(options: argparse.Namespace) -> int:
    store = _store(options)
    store.remove(options.name)
    return _tell(options, store, f"{options.name} is removed")


def _attempt(options: argparse.Namespace) -> int:
    store = _store(options)
    said = store.attempt()
    if said is not None:
        print(f"edge-ser: {said}", file=sys.stderr)
    return _tell(options, store, None)


def _confirm(options: argparse.Namespace) -> int:
    store = _store(options)
    name = store.confirm()
    return _tell(options, store, None if name is None else f"{name} is confirmed")


def _sign(options: argparse.Namespace) -> int:
    from edge_ser.store.signing import sign_pack

    name = sign_pack(options.pack, options.key)
    if options.json:
        print_json({"pack": name, "path": str(options.pack), "signed": True})
    else:
        print(f"{name} is signed")
    return 0


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "install": _install,
    "use": _use,
    "rollback": _rollback,
    "remove": _remove,
    "attempt": _attempt,
    "confirm": _confirm,
    "sign": _sign,
}


class _Trial:
    """The check that the store asks for, which remembers what it saw."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.runs: list[Any] = []
        if options.max_step_ms is not None and not options.max_step_ms > 0:
            raise UsageError(f"--max-step-ms {options.max_step_ms:g}: above 0, please")

    def __call__(self, folder: Path) -> None:
        from edge_ser.runtime.trial import try_pack

        options = self._options
        self.runs = try_pack(folder, options.backend, max_step_ms=options.max_step_ms)


def _store(options: argparse.Namespace) -> PackStore:
    from edge_ser.store.store import PackStore

    if not options.wait >= 0:
        raise UsageError(f"--wait {options.wait:g}: 0 or more seconds, please")
    return PackStore(wait_s=options.wait)


def _active(store: PackStore) -> str:
    from edge_ser.errors import PackError
    from edge_ser.store.store import BUNDLED

    try:
        return store.selection.active or BUNDLED
    except PackError:
        return BUNDLED


def _restart(options: argparse.Namespace, store: PackStore, before: str) -> None:
    """Let the service take the pack; where it does not come up, the one before takes its place.

    Raises:
        GateMissed: it did not come up; the store is as it was.
    """
    if not options.restart:
        return
    try:
        _systemctl(options.restart)
    except InputError as error:
        # The service itself may have gone back already (pack attempt).
        now = _active(store)
        if now != before:
            now = store.rollback()
        try:
            _systemctl(options.restart)
            after = f"{options.restart} runs with it"
        except InputError as again:
            after = f"{options.restart} does not come up with it either: {again}"
        raise GateMissed(f"went back to {now}, because {error}; {after}") from error
    store.confirm()


def _systemctl(unit: str) -> None:
    program = shutil.which("systemctl")
    if program is None:
        raise UsageError("--restart needs systemd, and there is no systemctl on this machine")
    # With Type=notify this returns when the service is ready, or has failed.
    done = subprocess.run([program, "restart", unit], capture_output=True, text=True, check=False)
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"systemctl ended with {done.returncode}"]
        raise InputError(f"{unit} did not come up ({words[0]}; see: journalctl -u {unit})")


def _tell(
    options: argparse.Namespace, store: PackStore, text: str | None, trial: _Trial | None = None
) -> int:
    runs = [] if trial is None else trial.runs
    selection = store.selection
    if options.json:
        print_json(
            {
                "active": selection.active,
                "previous": selection.previous,
                "on_trial": selection.attempts is not None,
                "folder": str(store.folder),
                "checks": [run.to_dict() for run in runs],
            }
        )
        return 0
    if text is not None:
        print(text)
    for run in runs:
        print(
            f"  {run.target:<15} {run.backend}, {run.precision}: golden label in "
            f"{run.agreement:.0%} of {run.steps} steps, scores off by at most {run.worst:.5f}, "
            f"{run.p50_ms:.2f} ms a step (p99 {run.p99_ms:.2f})"
        )
    return 0
