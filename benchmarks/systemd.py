"""The bundle under a real systemd: does the service start, hold, and come back?

``sudo python -m benchmarks.systemd --root /var/tmp/booted`` on Debian or Ubuntu with
``debootstrap`` and ``systemd-container``. It makes a Debian 12, boots it without any network, and
there installs the bundle with its service, kills it, hangs it, updates its pack to a good one and
to one with which it does not come up, and uninstalls it. What is looked at in each step stands in
:mod:`benchmarks.systemd_inside`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.clean_root import edge_ser, make_debian
from edge_ser.errors import EdgeSerError, InputError
from edge_ser.pack import bundled_packs, open_pack, write_pack

__all__ = ["boot", "put_in"]

PYTHON = "3.11"
_PACKAGES = ("dbus", "libportaudio2", "procps", "python3-venv", "systemd", "systemd-sysv")
_TRIAL = "root/trial"
_UNIT = """[Unit]
After=basic.target dbus.service
[Service]
Type=exec
ExecStart=/usr/bin/python3 /root/trial/systemd_inside.py /root/trial/report
ExecStopPost=/bin/systemctl --no-block poweroff
[Install]
WantedBy=multi-user.target
"""
_LONGEST_S = 1800


def put_in(root: Path, bundle: Path) -> None:
    """Bundle, two packs and the steps into ``root``, which does them when it is booted."""
    trial = root / _TRIAL
    shutil.rmtree(trial, ignore_errors=True)
    trial.mkdir(parents=True)
    with tarfile.open(bundle) as archive:
        archive.extractall(trial, filter="data")
    pack = open_pack(bundled_packs()[0])
    files = {name: pack.read(name) for name in pack.manifest.files}
    for version, name in (("91.0.0+good", "good.tar"), ("92.0.0+bad", "bad.tar")):
        write_pack(replace(pack.manifest, version=version), files, trial / name)
    shutil.copy(Path(__file__).with_name("systemd_inside.py"), trial)
    units = root / "etc/systemd/system"
    (units / "trial.service").write_text(_UNIT)
    wanted = units / "multi-user.target.wants/trial.service"
    wanted.parent.mkdir(exist_ok=True)
    wanted.unlink(missing_ok=True)
    wanted.symlink_to("/etc/systemd/system/trial.service")


def boot(root: Path) -> list[dict[str, Any]]:
    """Boot ``root`` and let it do its steps.

    Raises:
        InputError: there is no systemd-nspawn, or the system does not boot.
    """
    program = shutil.which("systemd-nspawn")
    if program is None:
        raise InputError("no systemd-nspawn; apt install systemd-container")
    # No machined is needed; a host with cgroups of both kinds must be told to offer the new one.
    command = [program, "--boot", "--private-network", "--register=no", "--keep-unit", "--quiet"]
    try:
        done = subprocess.run(
            [*command, f"--directory={root}"], stdin=subprocess.DEVNULL, timeout=_LONGEST_S,
            capture_output=True, text=True, check=False,
            env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
        )  # fmt: skip
        said = (done.stdout + done.stderr).strip()
    except subprocess.TimeoutExpired:
        said = f"not done after {_LONGEST_S} s"
    report = root / _TRIAL / "report"
    if not report.exists():
        raise InputError(f"{root} does not boot here: {said[-300:]}")
    return [json.loads(line) for line in report.read_text().splitlines()]


def main() -> int:
    """Everything in turn; 3 if a step fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of the system")
    parser.add_argument("--bundle", type=Path, help="x86-cpu, Python 3.11 (default: make one)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        make_debian(options.root, "amd64", _PACKAGES)
        with tempfile.TemporaryDirectory() as temporary:
            bundle = options.bundle or Path(temporary) / "bundle.tar"
            if options.bundle is None:
                words = ["--target", "x86-cpu", "--python", PYTHON, "--pack", "edge-six"]
                edge_ser("bundle", *words, "--out", str(bundle))
            put_in(options.root, bundle)
        steps = boot(options.root)
    except EdgeSerError as error:
        print(f"systemd: {error}", file=sys.stderr)
        return error.exit_status
    if options.json:
        print(json.dumps({"steps": steps}, indent=1))
    else:
        for step in steps:
            mark = "passed" if step["passed"] else "FAILED"
            print(f"{mark}  {step['step'].replace('_', ' ')}: {step['said']}")
    return 0 if steps and all(step["passed"] for step in steps) else 3


if __name__ == "__main__":
    sys.exit(main())
