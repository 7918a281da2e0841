"""One of the processes that load the whole machine; told what to do in lines on its input.

``python -m edge_ser.runtime.bench.worker SETTINGS`` answers every line in one: a number of streams
with ``ready``, the word ``go`` with the nanoseconds of every tick as a JSON list. From then on it
goes on unheard, so that nobody is measured beside a process that is done, until the word ``stop``.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
from typing import Any

from edge_ser.runtime.bench.audio import bench_audio
from edge_ser.runtime.bench.multi import Load
from edge_ser.runtime.recognizer import Recognizer

__all__ = ["work"]


def work(settings: dict[str, Any], orders: queue.Queue[str]) -> None:
    """Do what ``orders`` say until an empty one.

    Args:
        settings: ``pack``, ``engine`` (arguments of ``Recognizer.open``), ``audio``, ``ticks``,
            ``deadline_ns``, ``seed``.
    """
    recognizer = Recognizer.open(settings["pack"], **settings["engine"])
    audio = bench_audio(settings["audio"], recognizer.rate_hz)
    ticks = settings["ticks"]
    while order := orders.get():
        n_streams = int(order)
        group = recognizer.group(n_streams)
        load = Load(recognizer, group, audio, n_streams, ticks, settings["seed"])
        _answer("ready")
        if not orders.get():
            return
        _answer(json.dumps(load.timed(ticks, settings["deadline_ns"]).tolist()))
        while orders.empty():
            load.push()
        orders.get()


def _answer(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _main() -> None:
    orders: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            orders.put(line.strip())
        orders.put("")  # whoever asked is gone
        orders.put("")

    threading.Thread(target=listen, daemon=True).start()
    work(json.loads(sys.argv[1]), orders)


if __name__ == "__main__":
    _main()
