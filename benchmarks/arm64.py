"""The bundle for arm64 in a real arm64 system under emulation: same labels, same scores?

``sudo python -m benchmarks.arm64 --root /var/tmp/arm64`` on Debian or Ubuntu with ``debootstrap``,
``qemu-user-static`` and ``espeak-ng``. It makes an arm64 Debian 12 (the system of Raspberry Pi OS),
installs the bundle there with the network cut off, runs ``doctor``, and streams every clip through
``edge-ser run`` there and here. Clips are spoken by espeak-ng, or are those of ``--data``.
Emulation says nothing about speed.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import wave
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clean_root import edge_ser, make_debian
from edge_ser.audio import load_mono
from edge_ser.errors import EdgeSerError, InputError

__all__ = ["compare", "spoken_clips"]

PYTHON = "3.11"
WORST_SCORE = 0.02
"""Largest difference of a probability in any step; rounding differs between processors."""

_SENTENCES = (
    "I cannot believe that you did this to me again.",
    "The cupboard next to the door is empty now.",
    "What a wonderful day, the sun is shining.",
    "Please do not go there, somebody is behind the wall.",
    "It will be dark in seven hours.",
)
_VOICES = ("en", "en-us", "de", "en+f3", "de+m2")


def spoken_clips(folder: Path, count: int) -> list[Path]:
    """``count`` clips of synthetic speech: sentences, voices, pitches and speeds.

    Raises:
        InputError: there is no espeak-ng.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        raise InputError("no espeak-ng to speak clips; apt install espeak-ng, or use --data")
    clips = []
    for index in range(count):
        raw, clip = folder / f"raw{index}.wav", folder / f"clip{index:02}.wav"
        voice = _VOICES[index % len(_VOICES)]
        text = _SENTENCES[(index * 3 + index // 5) % len(_SENTENCES)]
        how = ["-p", str(15 + 17 * index % 80), "-s", str(120 + 23 * index % 110)]
        subprocess.run([program, "-v", voice, *how, "-w", str(raw), text], check=True)
        _write_16k(load_mono(raw, 16000), clip)
        raw.unlink()
        clips.append(clip)
    return clips


def corpus_clips(folder: Path, data: list[str], count: int) -> list[Path]:
    """``count`` clips of each ``corpus=DIR``, spread over it."""
    from edge_ser.corpora import load_corpus

    clips = []
    for item in data:
        corpus, _, where = item.partition("=")
        known = load_corpus(corpus, Path(where).expanduser()).clips
        for index in np.unique(np.linspace(0, len(known) - 1, count).astype(int)):
            clip = folder / f"{corpus}{index:05}.wav"
            _write_16k(load_mono(known[index].path, 16000), clip)
            clips.append(clip)
    return clips


def _write_16k(samples: np.ndarray, path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def compare(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> tuple[float, bool]:
    """The largest difference of a probability in any event, and whether the last labels agree.

    Raises:
        InputError: the two have not the same events.
    """
    pairs = [[event for event in events if event["type"] == "emotion"] for events in (ours, theirs)]
    if len(pairs[0]) != len(pairs[1]) or not pairs[0]:
        raise InputError(f"{len(pairs[0])} events here, {len(pairs[1])} there")
    worst = max(
        abs(one["probabilities"][label] - other["probabilities"][label])
        for one, other in zip(*pairs, strict=True)
        for label in one["probabilities"]
    )
    return worst, pairs[0][-1]["label"] == pairs[1][-1]["label"]


def prepare(root: Path) -> None:
    """An arm64 Debian in ``root``, unless there is one.

    Raises:
        InputError: debootstrap or the emulator is missing, or fails.
    """
    if shutil.which("unshare") is None:
        raise InputError("no unshare; apt install util-linux")
    if platform.machine() != "aarch64":
        entry = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
        if not entry.exists() or not entry.read_text().startswith("enabled"):
            raise InputError(
                "arm64 programs do not start here; apt install qemu-user-static binfmt-support, "
                "then: mount -t binfmt_misc none /proc/sys/fs/binfmt_misc; update-binfmts --enable"
            )
    make_debian(root, "arm64", ["python3-venv"])


def inside(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of ``root`` there, without any network."""
    # /proc of its own, for Python and ONNX Runtime look into it; it goes with the namespace.
    script = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
    return subprocess.run(
        ["unshare", "-n", "-m", "-p", "-f", "sh", "-c", script, str(root), *words],
        capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
    )  # fmt: skip


def install(root: Path, bundle: Path) -> None:
    """Unpack ``bundle`` in ``root`` and run its installer.

    Raises:
        InputError: it fails.
    """
    unpacked = root / "bundle"
    shutil.rmtree(unpacked, ignore_errors=True)
    with tarfile.open(bundle) as archive:
        archive.extractall(unpacked)
    (name,) = (path.name for path in unpacked.iterdir())
    done = inside(root, f"/bundle/{name}/install.sh", "--no-service")
    if done.returncode:
        raise InputError(f"install.sh failed there: {done.stderr.strip()[-600:]}")
    sys.stderr.write(done.stderr)


def say(text: str) -> None:
    """To the terminal."""
    print(f"arm64: {text}", file=sys.stderr)


def main() -> int:
    """Everything in turn; 3 if a label or a score differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of the arm64 system")
    parser.add_argument("--bundle", type=Path, help="made by edge-ser bundle (default: make one)")
    parser.add_argument("--installed", action="store_true", help="take what is installed there")
    parser.add_argument("--data", action="append", default=[], metavar="CORPUS=DIR")
    parser.add_argument("--clips", type=int, default=20, metavar="N", help="(of each corpus)")
    parser.add_argument("--skip", type=int, default=0, metavar="N", help="clips done before")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        report = _everything(options)
    except EdgeSerError as error:
        print(f"arm64: {error}", file=sys.stderr)
        return error.exit_status
    if options.json:
        print(json.dumps(report, indent=1))
    else:
        print(
            f"{report['clips']} clips: the last label agrees in {report['same_label']}, scores "
            f"differ by at most {report['worst']:.6f} (allowed: {WORST_SCORE})"
        )
    return 0 if report["passed"] else 3


def _everything(options: argparse.Namespace) -> dict[str, Any]:
    prepare(options.root)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bundle = options.bundle
        if bundle is None and not options.installed:
            say("making the bundle")
            bundle = folder / "bundle.tar"
            command = ["bundle", "--target", "arm64-cpu", "--python", PYTHON, "--pack", "edge-six"]
            edge_ser(*command, "--out", str(bundle))
        if not options.installed:
            say("installing it there, without a network")
            install(options.root, bundle)
        program = "/opt/edge-ser/bin/edge-ser"
        doctor = inside(options.root, program, "doctor", "--json")
        checks = {check["name"]: check for check in json.loads(doctor.stdout)["checks"]}
        machine = checks["machine"]["detail"]
        say(f"doctor there: {machine}; {checks['golden vectors, onnxruntime']['detail']}")
        clips = (
            corpus_clips(folder, options.data, options.clips)
            if options.data
            else spoken_clips(folder, options.clips)
        )
        there = options.root / "clips"
        shutil.rmtree(there, ignore_errors=True)
        there.mkdir()
        rows = []
        for clip in clips[options.skip :]:
            shutil.copy(clip, there)
            done = inside(options.root, program, "run", f"/clips/{clip.name}", "--jsonl")
            if done.returncode:
                raise InputError(f"{clip.name} does not run there: {done.stderr.strip()[-300:]}")
            here = edge_ser("run", str(clip), "--jsonl", "--pack", "edge-six")
            worst, same = compare(
                *(list(map(json.loads, t.splitlines())) for t in (here, done.stdout))
            )
            rows.append({"clip": clip.name, "worst": worst, "same_label": same})
            say(f"{clip.name}: {'same label' if same else 'OTHER LABEL'}, worst {worst:.6f}")
    worst = max(row["worst"] for row in rows)
    same = sum(row["same_label"] for row in rows)
    return {
        "machine": machine,
        "doctor": list(checks.values()),
        "clips": len(rows),
        "same_label": same,
        "worst": worst,
        "allowed": WORST_SCORE,
        "passed": same == len(rows) and worst <= WORST_SCORE,
        "rows": rows,
    }


if __name__ == "__main__":
    sys.exit(main())
