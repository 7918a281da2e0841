"""What :mod:`benchmarks.systemd` does inside of the booted system; needs nothing but Python."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

UNIT, PREFIX, HERE = "edge-ser.service", Path("/opt/edge-ser"), Path("/root/trial")
PROGRAM = str(PREFIX / "bin/edge-ser")
DROP_IN = Path(f"/etc/systemd/system/{UNIT}.d/trial.conf")
_LONGEST_S = 300.0

Outcome = tuple[bool, str]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """A command to its end."""
    return subprocess.run(words, capture_output=True, text=True, check=False)


def shown(name: str) -> str:
    """A property of the unit."""
    return run("systemctl", "show", "-P", name, UNIT).stdout.strip()


def until(what: Callable[[], bool]) -> float:
    """Seconds until ``what`` is so; infinite if it never was."""
    begin = time.monotonic()
    while time.monotonic() - begin < _LONGEST_S:
        if what():
            return time.monotonic() - begin
        time.sleep(0.2)
    return float("inf")


def is_up(other_than: str = "0") -> bool:
    """Whether the service is up, as another process than that."""
    return shown("ActiveState") == "active" and shown("MainPID") not in ("0", other_than)


def selection() -> dict[str, object]:
    """The store's own note."""
    return dict(json.loads((PREFIX / "packs/active.json").read_bytes()))


def install() -> Outcome:
    """The installer starts the service; with no sound card it waits for one."""
    (bundle,) = HERE.glob("edge-ser-*")
    done = run(str(bundle / "install.sh"), "--start")
    verified = run("systemd-analyze", "verify", f"/etc/systemd/system/{UNIT}")
    complaints = [line for line in verified.stderr.splitlines() if UNIT in line]
    fine = done.returncode == 0 and is_up() and not complaints
    return fine, f"{shown('StatusText')}; {done.stderr.strip().splitlines()[-1]}"


def ready() -> Outcome:
    """It answers."""
    with urllib.request.urlopen("http://127.0.0.1:8765/healthz", timeout=10) as reply:
        return reply.status == 200, f"/healthz {reply.status}"


def confined() -> Outcome:
    """A user of its own, in the group of the sound cards, with nothing it could become root by."""
    status = Path(f"/proc/{shown('MainPID')}/status").read_text().splitlines()
    facts = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    user = facts["Uid"].split()[0]
    audio = run("getent", "group", "audio").stdout.split(":")[2]
    fine = (
        int(user) >= 61184  # systemd's range of dynamic users
        and audio in facts["Groups"].split()
        and int(facts["CapEff"], 16) == 0
        and facts["NoNewPrivs"] == "1"
        and facts["Seccomp"] == "2"
    )
    exposure = run("systemd-analyze", "security", "--no-pager", UNIT).stdout.strip().splitlines()
    return fine, f"uid {user}, groups {facts['Groups']}; {exposure[-1].strip()}"


def killed() -> Outcome:
    """``SIGKILL``: started again."""
    before = shown("MainPID")
    os.kill(int(before), signal.SIGKILL)
    took = until(lambda: is_up(before))
    return took < _LONGEST_S, f"up again after {took:.1f} s"


def hung() -> Outcome:
    """``SIGSTOP``, which only the watchdog can notice."""
    before = shown("MainPID")
    os.kill(int(before), signal.SIGSTOP)
    took = until(lambda: is_up(before))
    journal = run("journalctl", "-u", UNIT, "--no-pager").stdout
    return took < _LONGEST_S and "Watchdog timeout" in journal, f"up again after {took:.1f} s"


def updated() -> Outcome:
    """A new pack, with a restart: in use, and confirmed."""
    done = run(PROGRAM, "pack", "install", str(HERE / "good.tar"), "--restart", UNIT)
    now = selection()
    fine = done.returncode == 0 and is_up() and now["attempts"] is None
    return fine and "good" in str(now["active"]), f"{done.returncode}: {shown('StatusText')}"


def taken_back() -> Outcome:
    """A pack with which the service does not come up: the one before is back, and runs."""
    DROP_IN.parent.mkdir(exist_ok=True)
    DROP_IN.write_text(
        f"[Service]\nExecStartPre=/bin/sh -c '! grep bad {PREFIX}/packs/active.json'\n"
    )
    run("systemctl", "daemon-reload")
    before = selection()["active"]
    done = run(PROGRAM, "pack", "install", str(HERE / "bad.tar"), "--restart", UNIT)
    fine = done.returncode == 3 and selection()["active"] == before and is_up()
    return fine, f"{done.returncode}: {done.stderr.strip()}"


def taken_back_by_the_unit() -> Outcome:
    """The same without ``--restart``: after two starts that fail the unit itself goes back."""
    before = selection()["active"]
    done = run(PROGRAM, "pack", "install", str(HERE / "bad.tar"))
    if done.returncode or selection()["active"] == before:
        return False, done.stderr.strip()
    run("systemctl", "restart", UNIT)
    took = until(is_up)
    return selection()["active"] == before and took < _LONGEST_S, f"{before} after {took:.1f} s"


def removed() -> Outcome:
    """Nothing is left."""
    done = run(str(PREFIX / "install.sh"), "--uninstall")
    left = [
        str(path)
        for path in (PREFIX, Path(f"/etc/systemd/system/{UNIT}"), Path("/usr/local/bin/edge-ser"))
        if os.path.lexists(path)
    ]
    return done.returncode == 0 and not left, done.stderr.strip()


STEPS = (
    install, ready, confined, killed, hung, updated, taken_back, taken_back_by_the_unit, removed,
)  # fmt: skip


def main(report: Path) -> None:
    """Every step, one JSON line each."""
    with report.open("w") as file:
        for step in STEPS:
            try:
                passed, said = step()
            except Exception as error:
                passed, said = False, repr(error)
            row = {"step": step.__name__, "passed": passed, "said": said}
            file.write(json.dumps(row) + "\n")
            file.flush()
        journal = run("journalctl", "-u", UNIT, "--no-pager", "-o", "cat").stdout
        (report.parent / "journal").write_text(journal)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
