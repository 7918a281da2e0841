from __future__ import annotations

import json

import pytest

from edge_ser.cli import main
from edge_ser.runtime.bench.run import too_slow
from edge_ser.runtime.bench.single import StepTimes

KEYS = {
    "steps", "step_ms", "latency_ms", "stages", "real_time_factor", "deadline_misses", "rss_mb",
    "cold_start_ms", "import_ms", "backend", "precision", "threads", "machine",
}  # fmt: skip


@pytest.fixture
def bench(pack_path, voice_wav, capsys):
    def run(*flags: str) -> tuple[int, str, str]:
        status = main(["bench", "--pack", str(pack_path), "--input", str(voice_wav), *flags])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def test_json_has_the_promised_keys(bench):
    flags = ("--json", "--seconds", "8", "--warmup", "5", "--processes", "1", "--scenario", "all")
    status, out, _ = bench(*flags)
    document = json.loads(out)
    assert status == 0
    assert document.keys() >= KEYS
    assert document["latency_ms"].keys() == {"p50", "p90", "p99", "p999", "max"}
    assert document["stages"]["infer"].keys() == {"p50", "p99"}
    assert document["steps"] == 100
    assert document["step_ms"] == 80
    assert document["cold_start_ms"] > document["import_ms"] > 0
    assert document["rss_mb"] > 0
    assert document["short_run"] is True
    assert document["offline"]["hours_per_minute"] > 0
    assert document["multi_stream"]["trials"][0]["streams"] == 1
    whole = document["multi_stream"]["whole_machine"]
    assert whole["streams"] == whole["processes"] * whole["streams_per_process"]
    values = [document["latency_ms"][key] for key in ("p50", "p90", "p99", "p999", "max")]
    assert values == sorted(values)


def test_the_summary_speaks_of_the_same_run(bench):
    status, out, err = bench("--seconds", "4", "--warmup", "0", "--processes", "0")
    assert status == 0
    assert "tiny@1.0 (fp32, onnxruntime, 1 thread)" in out
    assert "50 steps of 80 ms from voice.wav, as fast as possible, after 0 steps" in out
    assert "p90" in out
    assert "fresh start" not in out
    assert "single stream" in err


def test_an_unknown_scenario_is_wrong_usage(bench):
    status, _, err = bench("--scenario", "server")
    assert status == 2
    assert "single-stream" in err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--seconds", "0"], "seconds"),
        (["--threads", "0"], "thread"),
        (["--input", "nowhere.wav"], "nowhere.wav"),
        (["--backend", "tensorrt"], "tensorrt"),
        (["--pack", "nowhere"], "no pack at nowhere"),
        (["--engine", "/nowhere/x.engine"], "/nowhere/x.engine needs --backend"),
    ],
)
def test_wrong_flags_say_what_is_wrong(bench, flags, words):
    status, out, err = bench(*flags)
    assert (status, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


def test_a_pack_too_slow_for_live_audio_misses_the_gate(bench, monkeypatch):
    from edge_ser.runtime.bench import single

    real = single.StepTimes

    def crawl(steps, stages, ages, deadline_ns, cpu_ns, wall_ns) -> StepTimes:
        return real(steps * 0 + 2 * deadline_ns, stages, ages, deadline_ns, cpu_ns, wall_ns)

    monkeypatch.setattr(single, "StepTimes", crawl)
    status, out, err = bench("--json", "--seconds", "1", "--warmup", "0", "--processes", "0")
    document = json.loads(out)
    assert status == 3
    assert document["real_time_factor"] == 2
    assert document["deadline_misses"] == document["steps"]
    assert "takes 160 ms at the median (2.00 times real time" in err
    assert too_slow({**document, "real_time_factor": 0.99}) is None


def test_compare_prints_ratios(pack_path, voice_wav, capsys):
    flags = ["--input", str(voice_wav), "--seconds", "4", "--block", "5", "--warmup", "2"]
    status = main(["bench", "compare", str(pack_path), "--b-threads", "2", *flags, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert status == 0
    assert (document["a"]["threads"], document["b"]["threads"]) == (1, 2)
    assert main(["bench", "compare", str(pack_path), "--b-threads", "2", *flags]) == 0
    assert "B / A in step time" in capsys.readouterr().out


def test_compare_needs_a_difference(pack_path, capsys):
    assert main(["bench", "compare", str(pack_path)]) == 2
    assert "the same" in capsys.readouterr().err
    assert main(["bench", "compare", "nope"]) == 2
    told = capsys.readouterr().err
    assert "nope" in told
    assert "the same" not in told


def test_compare_heeds_flags_before_and_behind_its_name(pack_path, voice_wav, capsys):
    before = ["--input", str(voice_wav), "--seconds", "4", "--json", "--seed", "3"]
    behind = [str(pack_path), "--b-threads", "2", "--block", "5", "--warmup", "2"]
    assert main(["bench", *before, "compare", *behind]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["audio"]["file"] == "voice.wav"
    assert (document["audio"]["seconds"], document["seed"], document["warmup_steps"]) == (4, 3, 2)
    assert main(["bench", *before, "compare", *behind, "--seconds", "3", "--seed", "4"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["audio"]["seconds"], document["seed"]) == (2.8, 4)  # whole blocks


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--report", "x.html"], "--report"),
        (["--threads", "2"], "--a-threads, --b-threads"),
        (["--backend", "onnxruntime"], "--a-backend, --b-backend"),
        (["--pack", "nope"], "compare A B"),
        (["--engine", "x.engine"], "--engine"),
        (["--allow-fallback"], "--allow-fallback"),
        (["--require-backend", "onnxruntime"], "--require-backend"),
        (["--scenario", "offline"], "--scenario"),
        (["--processes", "0"], "--processes"),
        (["--paced"], "--paced"),
    ],
)
def test_compare_refuses_what_it_would_not_heed(pack_path, capsys, flags, words):
    sides = [str(pack_path), "--b-threads", "2"]
    assert main(["bench", *flags, "compare", *sides]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err
    assert main(["bench", "compare", *sides, *flags]) == 2
    assert f"unrecognized arguments: {flags[0]}" in capsys.readouterr().err
