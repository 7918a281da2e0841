"""The service measured from outside, through a virtual microphone of a real PulseAudio.

    python benchmarks/live_latency.py --pack PACK --voice talk.wav --seconds 30 --clients 50
    python benchmarks/live_latency.py --pack PACK --cycles 100

The first prints, as JSON, milliseconds from the block with the last sample of a step being in
the audio buffer to its event being at a WebSocket client (both clocks are the machine's
monotonic one), whether any client missed an event, and the service's CPU time in speech and
in silence as a share of one core. Steps that an utterance reaches back for are told when the
gate opens; they are counted apart, with the time that they waited for it. One client is timed,
the others listen in a process of their own. The second unplugs and replugs the microphone and
prints how often the service said so and how long it took to come back. Needs
tests/apt-packages.txt.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import websockets

from edge_ser.audio import load_mono

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "live"))
from sound_server import SoundServer, missing  # noqa: E402

PORT = 18765
URL = f"ws://127.0.0.1:{PORT}/v1/events"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pack", help="(default: the bundled pack)")
    parser.add_argument("--voice", type=Path, default=ROOT / "edge_ser" / "samples" / "demo.wav")
    parser.add_argument("--seconds", type=float, default=30, help="of speech, and of silence")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--cycles", type=int, default=0, help="unplug and replug instead")
    parser.add_argument("--crowd", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.crowd is not None:
        asyncio.run(be_crowd(options.crowd))
        return
    if (why := missing()) is not None:
        sys.exit(why)
    sound = SoundServer()
    sound.env["PYTHONPATH"] = str(ROOT)
    pack = ["--pack", options.pack] if options.pack else []
    server = subprocess.Popen(
        [sys.executable, "-m", "edge_ser", "serve", "--input", f"mic:{sound.name}",
         "--port", str(PORT), *pack], env=sound.env,
    )  # fmt: skip
    try:
        wait_for(server)
        if options.cycles:
            report = asyncio.run(replug(sound, server, options.cycles))
        else:
            voice = load_mono(options.voice, 16000)
            report = asyncio.run(measure(sound, server, options, voice))
        json.dump(report, sys.stdout, indent=1)
        print()
    finally:
        server.terminate()
        server.wait(20)
        sound.close()


def wait_for(server: subprocess.Popen[bytes]) -> None:
    """Until the service answers."""
    import socket

    while True:
        if server.poll() is not None:
            sys.exit("the service did not start")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", PORT)) == 0:
                return
        time.sleep(0.1)


async def measure(
    sound: SoundServer, server: Any, options: argparse.Namespace, voice: np.ndarray
) -> dict[str, Any]:
    """Latency, loss and CPU."""
    process = psutil.Process(server.pid)
    mine: list[tuple[int, str]] = []

    async def listen() -> None:
        async with websockets.connect(URL, compression=None, max_queue=None) as ws:
            async for text in ws:
                mine.append((time.perf_counter_ns(), text))  # noqa: PERF401 - kept when cancelled

    with Crowd(options.clients - 1) as crowd:
        listening = asyncio.create_task(listen())
        await asyncio.sleep(3)
        silent = await cpu(process, options.seconds)
        gap = np.zeros(4000, np.float32)
        n = 1 + int((options.seconds + 5) / (len(voice) / 16000))
        talk = np.concatenate([voice, gap] * n)
        player = sound.play((np.clip(talk, -1, 1) * 32767).astype("<i2").tobytes())
        await asyncio.sleep(2)
        speech = await cpu(process, options.seconds)
        player.kill()
        player.wait()
        await asyncio.sleep(2)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        heard = [[json.loads(text)["seq"] for _, text in mine], *crowd.heard()]
    whole = max(heard, key=len)
    holes = sum(seqs[-1] - seqs[0] + 1 - len(seqs) for seqs in heard if seqs)
    ages, waited = ages_of(mine)
    return {
        "clients": options.clients,
        "events": len(whole),
        "events_missed": holes + sum(len(whole) - len(seqs) for seqs in heard),
        "steps": len(ages),
        "latency_ms": percentiles(ages),
        "steps_reached_back_for": len(waited),
        "latency_of_those_ms": percentiles(waited),
        "cpu_silence": round(silent, 4),
        "cpu_speech": round(speech, 4),
        "cpu_ratio": round(silent / speech, 3) if speech else None,
    }


def ages_of(heard: list[tuple[int, str]]) -> tuple[list[float], list[float]]:
    """Milliseconds of steps that came as they were heard, and of those reached back for."""
    ages: list[float] = []
    waited: list[float] = []
    start: dict[str, Any] = {}
    for now, text in heard:
        event = json.loads(text)
        if event["type"] == "utterance.start":
            start = event
        elif event["type"] == "emotion" and not event["final"]:
            age = (now - event["captured_ns"]) / 1e6
            if event["captured_ns"] == start.get("captured_ns"):
                waited.append(age + start["audio_end_ms"] - event["audio_end_ms"])
            else:
                ages.append(age)
    return ages, waited


class Crowd:
    """Listeners in a process of their own, as others are who listen as well."""

    def __init__(self, n: int) -> None:
        self._n = n
        words = [sys.executable, __file__, "--crowd", str(n)]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Crowd:
        assert self._process.stdout is not None
        self._process.stdout.readline()  # all are connected
        return self

    def heard(self) -> list[list[int]]:
        """The numbers of the events that each of them heard."""
        result: list[list[int]] = json.loads(self._process.communicate("\n")[0])
        return result

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


async def be_crowd(n: int) -> None:
    """Listen ``n`` times until a line comes, then print what was heard."""
    heard: list[list[str]] = [[] for _ in range(n)]
    connected = asyncio.Semaphore(0)

    async def listen(mine: list[str]) -> None:
        async with websockets.connect(URL, compression=None, max_queue=None) as ws:
            connected.release()
            async for text in ws:
                mine.append(str(text))  # noqa: PERF401 - kept when cancelled

    tasks = [asyncio.create_task(listen(mine)) for mine in heard]
    for _ in tasks:
        await connected.acquire()
    print("connected", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    json.dump([[json.loads(text)["seq"] for text in mine] for mine in heard], sys.stdout)


def percentiles(values: list[float]) -> dict[str, float]:
    """Rounded to a hundredth; empty without values."""
    shares = (("p50", 50), ("p90", 90), ("p99", 99), ("max", 100)) if values else ()
    return {name: round(float(np.percentile(values, share)), 2) for name, share in shares}


async def cpu(process: psutil.Process, seconds: float) -> float:
    """Share of one core over ``seconds``."""
    before, begin = process.cpu_times(), time.monotonic()
    await asyncio.sleep(seconds)
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    return used / (time.monotonic() - begin)


async def replug(sound: SoundServer, server: Any, cycles: int) -> dict[str, Any]:
    """Pull the plug and put it back."""
    back: list[float] = []
    told = 0
    async with websockets.connect(URL, compression=None) as ws:

        async def until(kind: str) -> None:
            while json.loads(await asyncio.wait_for(ws.recv(), 60))["type"] != kind:
                pass

        await asyncio.sleep(3)
        for _ in range(cycles):
            sound.unplug()
            await until("source.lost")
            told += 1
            sound.plug()
            begin = time.monotonic()
            await until("source.restored")
            back.append(time.monotonic() - begin)
            await asyncio.sleep(0.3)
    return {
        "cycles": cycles,
        "lost_told": told,
        "alive": server.poll() is None,
        "back_s": {
            "p50": round(float(np.median(back)), 2),
            "p99": round(float(np.percentile(back, 99)), 2),
            "max": round(max(back), 2),
        },
    }


if __name__ == "__main__":
    main()
