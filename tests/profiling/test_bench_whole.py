from __future__ import annotations

import json
import queue

import numpy as np
import pytest

from edge_ser.errors import EdgeSerError
from edge_ser.runtime import Recognizer
from edge_ser.runtime.bench import bench_audio
from edge_ser.runtime.bench import whole as module
from edge_ser.runtime.bench.multi import Load, Trial
from edge_ser.runtime.bench.whole import WholeMachine, streams_in_time, whole_machine
from edge_ser.runtime.bench.worker import work

MS = 1_000_000
EVER, NEVER = 10**6 * MS, 1


@pytest.fixture
def measure(pack_path, voice_wav):
    def run(deadline_ns: int, most: int, pack=pack_path) -> WholeMachine:
        return whole_machine(
            pack, {}, voice_wav, processes=2, deadline_ns=deadline_ns, ticks=3, most=most
        )

    return run


def test_every_process_has_its_streams_and_all_are_counted(measure):
    result = measure(EVER, 3)
    assert [(trial.streams, len(trial.tick_ns)) for trial in result.trials] == [(3, 3)]
    document = result.to_dict()
    assert document["streams"] == document["trials"][0]["streams"] == 6
    assert document["streams_per_process"] == 3
    assert (document["processes"], document["threads"]) == (2, 1)


def test_what_no_process_holds_is_none(measure):
    result = measure(NEVER, 2)
    assert result.to_dict()["streams"] == 0
    assert result.trials[-1].streams == 1
    assert all(len(trial.tick_ns) == 1 for trial in result.trials), "lost at its first tick"


def test_the_slowest_process_decides(monkeypatch, measure):
    answers = iter(
        ["ready", "ready", "[5000000, 5000000, 5000000]", "[5000000, 90000000, 5000000]"]
    )

    class Worker:
        def __init__(self, settings) -> None:
            self.seed = settings["seed"]

        def __enter__(self):
            return self

        def __exit__(self, *_) -> None:
            pass

        def tell(self, order: str) -> None:
            assert order in ("1", "go", "stop")

        def answer(self, begin: str) -> str:
            answer = next(answers)
            assert answer.startswith(begin)
            return answer

    monkeypatch.setattr(module, "_Worker", Worker)
    (trial,) = measure(80 * MS, 1).trials
    assert trial.tick_ns.tolist() == [5 * MS, 90 * MS, 5 * MS]
    assert not trial.held


def test_a_process_that_fails_says_why(measure):
    with pytest.raises(EdgeSerError, match="multi-stream failed: .*no pack at nowhere"):
        measure(EVER, 1, pack="nowhere")


def test_a_worker_goes_on_until_it_is_told_to_stop(pack_path, voice_wav, capsys, monkeypatch):
    asked = 0

    class Orders(queue.Queue[str]):
        def empty(self) -> bool:
            nonlocal asked
            asked += 1
            return asked < 5

    orders = Orders()
    for order in ("2", "go", "stop", "1", "go", "stop", ""):
        orders.put(order)
    settings = {"pack": str(pack_path), "engine": {}, "audio": str(voice_wav), "ticks": 4}
    pushed = []
    push = Load.push
    monkeypatch.setattr(Load, "push", lambda load: pushed.append(1) or push(load))
    work({**settings, "deadline_ns": EVER, "seed": 0}, orders)
    first, ticks, again, more = capsys.readouterr().out.splitlines()
    assert first == again == "ready"
    assert len(json.loads(ticks)) == len(json.loads(more)) == 4
    assert len(pushed) == 2 * (3 + 4) + 4


def test_one_core_is_the_whole_machine(monkeypatch, voice_wav, pack_path):
    monkeypatch.setattr(module, "usable_cores", lambda: 1)
    monkeypatch.setattr(module, "whole_machine", None)  # nothing is to be started
    trials = (Trial(4, np.array([7 * MS, 9 * MS]), 10 * MS), Trial(8, np.array([12 * MS]), 10 * MS))
    monkeypatch.setattr(module, "multi_stream", lambda *_, **__: module.MultiStream(trials, "so"))
    document = streams_in_time(
        Recognizer.open(pack_path),
        bench_audio(voice_wav, 16000),
        pack=pack_path,
        engine={},
        audio_file=voice_wav,
        ticks=2,
        seed=0,
        progress=lambda line: None,
    )
    assert document["streams"] == document["whole_machine"]["streams"] == 4
    assert document["trials"] == document["whole_machine"]["trials"]
    assert document["whole_machine"]["processes"] == 1
