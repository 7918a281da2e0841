"""A hook that takes blocks ends up with what it would have from single steps."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from making.timings import MS

from edge_ser.runtime import StageTiming, StepTiming
from edge_ser.runtime.hooks.deadline import DeadlineWatcher
from edge_ser.runtime.hooks.json_lines import JsonLinesHook
from edge_ser.runtime.hooks.numbered_text import NumberedText
from edge_ser.runtime.step_block import StepBlock
from edge_ser.runtime.timing import BLOCK_STEPS, Hooks
from edge_ser.runtime.trace import TraceHook

STAGES = ("frontend", "infer 100 %")


class Single:
    """Hides that a hook takes blocks."""

    def __init__(self, hook) -> None:
        self.on_stage, self.on_step = hook.on_stage, hook.on_step


def times(n_steps: int, late: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(3)
    rows = []
    for step in range(n_steps):
        begin = step * 1_000_000 + 5_123
        first, second = rng.integers(1_000, 300_000, size=2).tolist()
        second += 80 * MS if step in late else 0
        rows.append((begin, begin + first, begin + first + second))
    return rows


def tell(hook, rows) -> None:
    hooks = Hooks([hook], 'mic "50%"', 80 * MS, STAGES)
    for step, row in enumerate(rows):
        hooks.record(step, row)
    hooks.settle()


class Blocks:
    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.steps: list[int] = []

    def on_stage(self, timing: StageTiming) -> None:
        raise AssertionError("takes blocks")

    def on_step(self, timing: StepTiming) -> None:
        raise AssertionError("takes blocks")

    def on_block(self, block: StepBlock) -> None:
        self.sizes.append(len(block.times))
        self.steps += range(block.first, block.first + len(block.times))


def test_a_block_ends_when_it_is_full_late_old_or_told_to():
    hook = Blocks()
    rows = times(300, late=(10,))
    tell(hook, rows)
    assert hook.steps == list(range(300))
    assert hook.sizes == [11, BLOCK_STEPS, BLOCK_STEPS, 300 - 11 - 2 * BLOCK_STEPS]
    live = Blocks()
    tell(live, [(step * 80 * MS, step * 80 * MS + 1, step * 80 * MS + 2) for step in range(40)])
    assert max(live.sizes) <= 26, "two seconds of live audio"


def test_a_clock_that_jumps_back_is_told_at_once_and_gives_no_negative_time():
    hook = Blocks()
    tell(hook, [(10, 20, 30), (1_000, 900, 800), (2_000, 2_010, 2_020)])
    assert hook.sizes == [2, 1]
    block = StepBlock("mic", 0, 1, STAGES, np.array([(1_000, 900, 950)]))
    assert block.durations_ns.tolist() == [[0, 50, 0]]


def test_the_trace_is_the_same(tmp_path: Path):
    rows = times(150, late=(7, 90))
    for name, wrap in (("single", Single), ("blocks", lambda hook: hook)):
        trace = TraceHook(tmp_path / name)
        tell(wrap(trace), rows)
        trace.close()
    single, blocks = (
        json.loads((tmp_path / name).read_text())["traceEvents"] for name in ("single", "blocks")
    )

    def key(event):
        return json.dumps(event, sort_keys=True)

    assert sorted(map(key, blocks)) == sorted(map(key, single))


def test_two_streams_with_one_name_keep_their_numbers(tmp_path: Path):
    hook = JsonLinesHook(tmp_path / "steps.jsonl")
    first, second = (Hooks([hook], "mic", 80 * MS, STAGES) for _ in range(2))
    rows = times(30)
    for step in range(20):
        first.record(step, rows[step])
        second.record(5 + step, rows[5 + step])
        if step % 7 == 6:
            first.settle()
            second.settle()
    first.settle()
    second.settle()
    hook.close()
    found = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert all(line["start_ns"] == rows[line["step"]][0] for line in found)
    assert sorted(line["step"] for line in found) == sorted([*range(20), *range(5, 25)])


def test_streams_in_threads_share_a_file(tmp_path: Path):
    hook = JsonLinesHook(tmp_path / "steps.jsonl")

    def stream(name: str) -> None:
        hooks = Hooks([hook], name, 80 * MS, STAGES)
        for step, row in enumerate(times(2000)):
            hooks.record(step, row)
        hooks.settle()

    threads = [threading.Thread(target=stream, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hook.close()
    lines = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    for name in "abc":
        assert [line["step"] for line in lines if line["stream_id"] == name] == list(range(2000))


def test_few_steps_wait_to_be_written(tmp_path: Path):
    trace, lines = TraceHook(tmp_path / "t.json"), JsonLinesHook(tmp_path / "s.jsonl")
    hooks = Hooks([trace, lines], "mic", 80 * MS, STAGES)
    for step, row in enumerate(times(5000)):
        hooks.record(step, row)
    part = next(path for path in tmp_path.iterdir() if "s.jsonl" in path.name)
    assert len(part.read_text().splitlines()) > 5000 - 2 * 1024
    hooks.settle()
    trace.close()
    lines.close()
    slices = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert sum(event["name"] == "step" for event in slices) == 5000


@pytest.mark.parametrize("most", [9, 10, 9_999, 10_000, 99_999_999, 10**8, 2**62])
def test_rows_are_what_a_format_string_gives(most: int):
    numbers = np.random.default_rng(most % 97).integers(0, most, (3, 40), np.int64, True)
    numbers[:, 0], numbers[:, 1], numbers[1, 2:] = 0, most, 7
    text = NumberedText(['a "50 %":', 1, ",", 0, ", 0 and ", 2, ";", 1, "\n"])
    expected = "".join(f'a "50 %":{b},{a}, 0 and {c};{b}\n' for a, b, c in numbers.T)
    assert text.rows(numbers).decode() == expected
    assert text.rows(numbers[:, :1]).decode() == 'a "50 %":0,0, 0 and 0;0\n'


def test_json_lines_are_the_same(tmp_path: Path):
    rows = times(150, late=(7,))
    for name, wrap in (("single", Single), ("blocks", lambda hook: hook)):
        hook = JsonLinesHook(tmp_path / name)
        tell(wrap(hook), rows)
        hook.close()
    assert (tmp_path / "single").read_text() == (tmp_path / "blocks").read_text()


def test_percentiles_and_metrics_are_the_same():
    pytest.importorskip("hdrh", reason="needs the profile extra")
    from edge_ser.runtime.hooks.percentiles import PercentilesHook

    rows = times(5000, late=(7, 4000))
    single, blocks = PercentilesHook(), PercentilesHook()
    tell(Single(single), rows)
    tell(blocks, rows)
    assert blocks.snapshot() == single.snapshot()
    assert blocks.deadline_misses == single.deadline_misses == 2


def test_prometheus_counts_are_the_same(pack_path):
    pytest.importorskip("prometheus_client", reason="needs the profile extra")
    from edge_ser.runtime import Recognizer
    from edge_ser.runtime.hooks.prometheus import PrometheusHook

    recognizer = Recognizer.open(pack_path)
    single, blocks = PrometheusHook(recognizer), PrometheusHook(recognizer)
    rows = times(300, late=(7,))
    tell(Single(single), rows)
    tell(blocks, rows)
    assert blocks.exposition() == single.exposition()


def test_the_watcher_finds_the_same_guilty_stages(pack_path):
    from edge_ser.runtime import Recognizer

    stream = Recognizer.open(pack_path).stream()
    rows = times(300, late=(40, 250))
    single, blocks = DeadlineWatcher(), DeadlineWatcher()
    tell(Single(single), rows)
    tell(blocks, rows)
    expected = [event.detail for event in single.events(stream)]
    got = [event.detail for event in blocks.events(stream)]
    assert [detail["step"] for detail in got] == [40, 250]
    for mine, other in zip(got, expected, strict=True):
        assert mine.pop("usual_ms") == pytest.approx(other.pop("usual_ms"), abs=2e-3)
        assert mine == other
