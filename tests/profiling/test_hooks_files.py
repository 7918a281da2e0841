from __future__ import annotations

import json
import logging
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from making.timings import MS, tell

import edge_ser
from edge_ser.errors import InputError, OutputError
from edge_ser.runtime import Recognizer, StageTiming, StepTiming
from edge_ser.runtime.board import BoardCondition
from edge_ser.runtime.hooks.json_lines import JsonLinesHook
from edge_ser.runtime.hooks.node_profile import node_events
from edge_ser.runtime.trace import TraceHook


def test_the_trace_opens_in_a_browser(tmp_path: Path):
    trace = TraceHook(tmp_path / "t.json")
    tell(trace, 0, stream='mic "a"')
    tell(trace, 1, stream="other", stages=[("infer", 90)])
    trace.counter(5 * MS, "power (W)", {"VDD_IN": 6.0})
    assert not (tmp_path / "t.json").exists()
    trace.close()
    document = json.loads((tmp_path / "t.json").read_text())
    assert document["displayTimeUnit"] == "ms"
    events = document["traceEvents"]
    assert {event["ph"] for event in events} == {"M", "X", "C", "i"}
    names = {e["args"]["name"]: e["tid"] for e in events if e["name"] == "thread_name"}
    assert names == {'stream mic "a"': 1, "stream other": 2}
    slices = [e for e in events if e["ph"] == "X" and e["tid"] == 1]
    assert [e["name"] for e in slices] == ["frontend", "infer", "step"]
    _, infer, step = slices
    assert (step["dur"], step["args"]) == (3000, {"step": 0})
    assert (infer["ts"], infer["dur"]) == (1000, 2000)
    missed = next(e for e in events if e["ph"] == "i")
    assert (missed["name"], missed["tid"], missed["ts"]) == ("deadline.miss", 2, 170_000)
    counter = next(e for e in events if e["ph"] == "C")
    assert (counter["ts"], counter["args"]) == (5000, {"VDD_IN": 6.0})
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]


def test_a_clock_that_jumps_back_gives_no_negative_slice(tmp_path: Path):
    trace = TraceHook()
    trace.on_stage(StageTiming("infer", 0, 10, -5))
    trace.on_step(StepTiming("mic", 0, 10, -5, 80))
    trace.write(tmp_path / "t.json")
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert [e["dur"] for e in events if e["ph"] == "X"] == [0, 0]


def test_an_empty_trace_is_valid(tmp_path: Path):
    trace = TraceHook(tmp_path / "t.json")
    trace.close()
    assert len(json.loads((tmp_path / "t.json").read_text())["traceEvents"]) == 1


def test_a_trace_keeps_little_in_memory_and_ends_at_its_limit(tmp_path: Path, caplog):
    trace = TraceHook(tmp_path / "t.json", max_bytes=200_000)
    for step in range(5000):
        tell(trace, step)
        assert len(trace._file._lines) < 1000
    with caplog.at_level(logging.ERROR):
        trace.close()
    assert caplog.text.count("not written any further") == 1
    assert (tmp_path / "t.json").stat().st_size <= 200_100
    assert len(json.loads((tmp_path / "t.json").read_text())["traceEvents"]) > 1000


def test_a_trace_where_nothing_can_be_written_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        TraceHook(tmp_path / "file" / "t.json")


def test_a_full_disk_is_told_of_once_and_the_stream_goes_on(tmp_path: Path, pack_path: Path):
    """A limit on the size of files stands for the disk: writing fails in the same place."""
    script = """
        import logging, resource, sys
        import numpy as np
        from pathlib import Path
        from edge_ser.errors import OutputError
        from edge_ser.runtime import Recognizer
        from edge_ser.runtime.trace import TraceHook
        from edge_ser.runtime.hooks.json_lines import JsonLinesHook
        logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s")
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        recognizer = Recognizer.open(sys.argv[1])
        folder = Path(sys.argv[2])
        hooks = [TraceHook(folder / "t.json"), JsonLinesHook(folder / "s.jsonl")]
        with recognizer.stream(hooks=hooks) as stream:
            events = stream.push(np.zeros(1280 * 1600, np.int16))
        for hook in hooks:
            try:
                hook.close()
            except OutputError as error:
                print(error)
        print(len(events), "events")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(pack_path), str(tmp_path)],
        env={"PYTHONPATH": str(Path(edge_ser.__file__).resolve().parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "1600 events" in done.stdout
    assert done.stdout.count("not written any further") == 2
    lines = (tmp_path / "s.jsonl").read_text().splitlines()
    assert f"s.jsonl is incomplete, {1600 - len(lines)} lines are missing" in done.stdout
    assert "t.json is incomplete" in done.stdout
    assert json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert len(lines) > 100
    assert all("duration_ns" in json.loads(line) for line in lines)


def test_json_lines_tell_every_step(tmp_path: Path):
    hook = JsonLinesHook(tmp_path / "s.jsonl")
    tell(hook, 0)
    tell(hook, 1, stages=[("infer", 90)], stream="the\nother")
    hook.close()
    first, second = map(json.loads, (tmp_path / "s.jsonl").read_text().splitlines())
    assert first == {
        "stream_id": "mic", "step": 0, "start_ns": 0, "duration_ns": 3 * MS, "missed": False,
        "stages_ns": {"frontend": MS, "infer": 2 * MS},
    }  # fmt: skip
    assert second["missed"] is True
    assert second["stream_id"] == "the\nother"
    assert second["stages_ns"] == {"infer": 90 * MS}


def test_the_nodes_of_onnx_runtime_land_in_the_same_trace(tmp_path: Path, pack_path, voice):
    recognizer = Recognizer.open(pack_path, node_profile=tmp_path / "nodes")
    trace = TraceHook(tmp_path / "t.json")
    with recognizer.stream(hooks=[trace]) as stream:
        stream.push(voice[: 1280 * 3])
    trace.merge(recognizer.engine.node_events())
    trace.close()
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    nodes = [e for e in events if e.get("cat", "").startswith("node/")]
    infers = [e for e in events if e["name"] == "infer"]
    assert len(infers) == 3
    assert any(e["cat"].endswith("Conv") for e in nodes)
    # Every node ran within the inference of a step (two clocks are read one after the other).
    for node in nodes:
        assert any(
            e["ts"] - 50 <= node["ts"] and node["ts"] + node["dur"] <= e["ts"] + e["dur"] + 50
            for e in infers
        )
    assert not list(tmp_path.glob("nodes*"))


def test_a_broken_node_profile_is_told_of():
    with pytest.raises(OutputError, match="the trace is without nodes"):
        list(node_events("[{", 0))


def test_the_condition_of_a_board_makes_counter_tracks(tmp_path: Path):
    trace = TraceHook(tmp_path / "t.json")
    condition = BoardCondition(temperatures_c={"cpu": 50.0}, power_w={"VDD_IN": 6.0})
    trace.on_board(7 * MS, condition)
    trace.close()
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    counters = {e["name"]: e["args"] for e in events if e["ph"] == "C"}
    assert counters == {"temperature (°C)": {"cpu": 50.0}, "power (W)": {"VDD_IN": 6.0}}
