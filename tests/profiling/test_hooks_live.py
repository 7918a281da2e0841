from __future__ import annotations

import logging
import socket
import sys
import time
import urllib.request

import numpy as np
import pytest
from making.timings import MS, tell

from edge_ser.errors import MissingExtra, UsageError
from edge_ser.runtime import Recognizer, StageTiming, StepTiming
from edge_ser.runtime.board import BoardCondition
from edge_ser.runtime.hooks.deadline import DeadlineWatcher
from edge_ser.runtime.hooks.nvtx_ranges import with_nvtx_ranges
from edge_ser.runtime.timing import Hooks


@pytest.fixture(scope="module")
def recognizer(pack_path):
    return Recognizer.open(pack_path)


class TestPercentiles:
    @pytest.fixture(autouse=True)
    def _needs(self):
        pytest.importorskip("hdrh", reason="needs the profile extra")

    def make(self):
        from edge_ser.runtime.hooks.percentiles import PercentilesHook

        return PercentilesHook()

    def test_agree_with_numpy(self):
        hook = self.make()
        durations = np.random.default_rng(0).lognormal(12.5, 0.7, 20_000).astype(np.int64)
        for step, duration in enumerate(durations.tolist()):
            hook.on_stage(StageTiming("infer", step, 0, duration))
            hook.on_step(StepTiming("mic", step, 0, duration + 1000, 1_000_000))
        snapshot = hook.snapshot()
        assert snapshot["infer"]["count"] == snapshot["step"]["count"] == 20_000
        for key, share in (("p50", 50), ("p90", 90), ("p99", 99), ("p999", 99.9), ("max", 100)):
            expected = np.percentile(durations, share, method="inverted_cdf") / 1e6
            assert snapshot["infer"][key] == pytest.approx(expected, rel=2e-3)
        assert hook.deadline_misses == int((durations + 1000 > 1_000_000).sum())

    def test_memory_is_bounded(self):
        hook = self.make()
        for step in range(10_000):
            tell(hook, step)
        assert sum(map(len, hook._waiting.values())) < 3 * 4096
        assert hook.snapshot()["step"]["count"] == 10_000

    def test_impossible_durations_do_no_harm(self):
        hook = self.make()
        hook.on_step(StepTiming("mic", 0, 0, -7, 1))
        hook.on_step(StepTiming("mic", 1, 0, 10**15, 1))
        snapshot = hook.snapshot()["step"]
        assert snapshot["p50"] == 0
        assert snapshot["max"] == pytest.approx(60_000, rel=2e-3)


class TestPrometheus:
    @pytest.fixture
    def hook(self, recognizer):
        pytest.importorskip("prometheus_client", reason="needs the profile extra")
        from edge_ser.runtime.hooks.prometheus import PrometheusHook

        return PrometheusHook(recognizer)

    def samples(self, hook):
        from prometheus_client.parser import text_string_to_metric_families

        families = text_string_to_metric_families(hook.exposition().decode())
        return {
            (s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples
        }

    def test_counts_what_it_was_told(self, hook, recognizer, voice):
        with recognizer.stream(hooks=[hook]) as stream:
            for event in stream.push(voice[: 1280 * 10]):
                hook.on_event(event)
        tell(hook, 10, stages=[("infer", 90)])
        samples = self.samples(hook)
        assert samples["ser_frames_total", ()] == 11
        assert samples["ser_deadline_misses_total", ()] >= 1
        stage = "ser_stage_duration_seconds"
        assert samples[f"{stage}_count", (("stage", "infer"),)] == 11
        assert samples[f"{stage}_bucket", (("le", "+Inf"), ("stage", "frontend"))] == 10
        assert samples[f"{stage}_sum", (("stage", "infer"),)] >= 0.09
        counted = [v for (name, _), v in samples.items() if name == "ser_events_total"]
        assert sum(counted) == 10
        build = next(labels for name, labels in samples if name == "ser_build_info")
        assert dict(build)["model"] == "tiny@1.0"
        assert "ser_source_up" not in dict(samples.keys())
        assert not any(name.startswith("ser_power") for name, _ in samples)

    def test_buckets_grow(self, hook):
        for took in (0.02, 0.3, 7, 2000):
            hook.on_stage(StageTiming("infer", 0, 0, round(took * MS)))
        samples = self.samples(hook)
        buckets = sorted(
            (float(dict(labels)["le"]), value)
            for (name, labels), value in samples.items()
            if name.endswith("_bucket") and dict(labels)["stage"] == "infer"
        )
        assert [value for _, value in buckets] == sorted(value for _, value in buckets)
        assert dict(buckets)[0.000025] == 1
        assert dict(buckets)[0.01] == 3
        assert dict(buckets)[1.0] == 3
        assert buckets[-1] == (float("inf"), 4)

    def test_board_source_and_losses_appear_when_told_of(self, hook):
        before = self.samples(hook)
        assert not any(name.startswith(("ser_audio", "ser_source")) for name, _ in before)
        hook.on_source(True)
        condition = BoardCondition(
            temperatures_c={"gpu-thermal": 50.0, "cpu": 90.0},
            power_w={"VDD_IN": 6.0},
            power_mode="7W",
        )
        hook.on_board(0, condition)
        samples = self.samples(hook)
        assert samples["ser_source_up", ()] == 1
        assert samples["ser_audio_overflows_total", ()] == 0
        assert samples["ser_audio_dropped_seconds_total", ()] == 0
        assert samples["ser_gpu_temperature_celsius", ()] == 50
        assert samples["ser_power_watts", (("rail", "VDD_IN"),)] == 6
        assert samples["ser_power_mode_info", (("mode", "7W"),)] == 1

    def test_events_of_a_live_source_tell_of_ages_losses_and_the_source(
        self, hook, recognizer, voice, monkeypatch
    ):
        monkeypatch.setattr("edge_ser.runtime.hooks.prometheus.perf_counter_ns", lambda: 40 * MS)
        with recognizer.stream() as stream:
            events = [*stream.push(voice[:3840]), stream.notice("utterance.start")]
            for event in events:
                event.detail["captured_ns"] = 10 * MS
                hook.on_event(event)
            hook.on_event(stream.notice("audio.gap", reason="overflow", missing_ms=250.0))
            hook.on_event(stream.notice("audio.gap", reason="overflow", missing_ms=500.0))
            samples = self.samples(hook)
            assert samples["ser_source_up", ()] == 1
            hook.on_event(stream.notice("source.lost", reason="unplugged"))
            assert self.samples(hook)["ser_source_up", ()] == 0
            hook.on_event(stream.notice("source.restored", source="mic"))
            assert self.samples(hook)["ser_source_up", ()] == 1
        assert samples["ser_audio_overflows_total", ()] == 2
        assert samples["ser_audio_dropped_seconds_total", ()] == 0.75
        age = "ser_frame_age_seconds"
        assert samples[f"{age}_count", ()] == 3
        assert samples[f"{age}_sum", ()] == pytest.approx(0.09)
        assert samples[f"{age}_bucket", (("le", "0.025"),)] == 0
        assert samples[f"{age}_bucket", (("le", "0.05"),)] == 3

    def test_the_endpoint_answers_and_a_taken_port_is_a_clear_error(self, hook):
        from edge_ser.runtime.hooks.prometheus import serve_metrics

        with serve_metrics(hook, port=0) as server:
            url = f"http://127.0.0.1:{server.port}/metrics"
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            assert b"ser_build_info" in opener.open(url, timeout=30).read()
            with pytest.raises(UsageError, match=f"127.0.0.1:{server.port} .*another port"):
                serve_metrics(hook, port=server.port)
        with socket.socket() as free_again:
            free_again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free_again.bind(("127.0.0.1", server.port))


@pytest.mark.parametrize(
    ("module", "name", "package"),
    [("percentiles", "hdrh.histogram", "hdrhistogram"), ("prometheus", "prometheus_client", "pro")],
)
def test_a_missing_package_names_the_extra(monkeypatch, recognizer, module, name, package):
    import importlib

    hooks = importlib.import_module(f"edge_ser.runtime.hooks.{module}")
    monkeypatch.setitem(sys.modules, name, None)
    make = {
        "percentiles": lambda: hooks.PercentilesHook(),
        "prometheus": lambda: hooks.PrometheusHook(recognizer),
    }
    with pytest.raises(MissingExtra, match=rf"{package}.*edge-ser\[profile\]"):
        make[module]()


class TestDeadline:
    def test_the_guilty_stage_is_the_one_beyond_its_usual_time(self, recognizer):
        watcher = DeadlineWatcher()
        usual = [("frontend", 5), ("infer", 60)]
        for step in range(20):
            tell(watcher, step, stages=usual)
        stream = recognizer.stream("mic7", hooks=[watcher])
        assert watcher.events(stream) == []
        tell(watcher, 20, stages=[("frontend", 40), ("infer", 61)])  # infer is longest as ever
        (event,) = watcher.events(stream)
        assert event.type == "deadline.miss"
        assert event.stream_id == "mic7"
        detail = event.to_dict()
        assert detail["stage"] == "frontend"
        assert (detail["took_ms"], detail["deadline_ms"]) == (101, 80)
        assert detail["stage_ms"] == 40
        assert detail["usual_ms"] == pytest.approx(5)
        assert detail["step"] == 20
        assert watcher.events(stream) == []

    def test_without_history_the_longest_stage_is_guilty(self, recognizer):
        watcher = DeadlineWatcher()
        tell(watcher, 0, stages=[("frontend", 10), ("infer", 90)])
        (event,) = watcher.events(recognizer.stream())
        assert event.detail["stage"] == "infer"
        assert "usual_ms" not in event.detail

    def test_nobody_asking_costs_no_memory(self, recognizer):
        watcher = DeadlineWatcher()
        for step in range(1500):
            tell(watcher, step, stages=[("infer", 90)])
        events = watcher.events(recognizer.stream())
        assert watcher.misses == 1500
        assert len(events) == 1000
        assert events[-1].detail["step"] == 1499
        assert [event.seq for event in events] == list(range(1, 1001))


class Recorder:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_stage(self, timing: StageTiming) -> None:
        self.calls.append(timing.stage)

    def on_step(self, timing: StepTiming) -> None:
        self.calls.append(f"step {timing.step}")


class Broken(Recorder):
    def on_step(self, timing: StepTiming) -> None:
        super().on_step(timing)
        raise RuntimeError("broken hook")


class Slow(Recorder):
    def on_step(self, timing: StepTiming) -> None:
        super().on_step(timing)
        time.sleep(0.021)


def test_hooks_are_called_in_order_and_a_broken_one_once(recognizer, voice, caplog):
    good, broken = Recorder(), Broken()
    with recognizer.stream(hooks=[broken, good]) as stream:
        assert len(stream.push(voice[: 1280 * 3])) == 3
    stages = ["frontend", "infer", "post"]
    assert good.calls == [*stages, "step 0", *stages, "step 1", *stages, "step 2"]
    assert broken.calls == [*stages, "step 0"]
    assert caplog.text.count("left out from now on") == 1


def test_a_slow_hook_is_told_of_once_and_stays(caplog):
    slow, quick = Slow(), Recorder()
    hooks = Hooks([slow, quick], "mic", 80 * MS, ("infer",))
    with caplog.at_level(logging.WARNING):
        for step in range(3):
            hooks.record(step, (0, 1))
    assert slow.calls == quick.calls
    assert [call for call in slow.calls if call != "infer"] == ["step 0", "step 1", "step 2"]
    assert caplog.text.count("another thread") == 1
    assert "Slow" in caplog.text


@pytest.mark.parametrize("installed", [True, False])
def test_ranges_change_nothing_with_and_without_nvtx(monkeypatch, recognizer, voice, installed):
    if installed:
        pytest.importorskip("nvtx", reason="needs the profile extra")
    else:
        monkeypatch.setitem(sys.modules, "nvtx", None)
    ranged = with_nvtx_ranges(recognizer)
    assert ranged.engine.backend == recognizer.engine.backend
    with recognizer.stream() as plain, ranged.stream() as stream:
        expected = [event.probabilities for event in plain.push(voice)]
        assert [event.probabilities for event in stream.push(voice)] == expected
    assert type(recognizer.engine) is not type(ranged.engine)


def test_ranges_open_and_close_around_every_stage(monkeypatch, recognizer, voice):
    from edge_ser.runtime.hooks import nvtx_ranges

    calls: list[tuple[object, ...]] = []
    pair = (lambda stage, step: calls.append((stage, step)), lambda: calls.append(("end",)))
    monkeypatch.setattr(nvtx_ranges, "_ranges", lambda: pair)
    with with_nvtx_ranges(recognizer).stream() as stream:
        stream.push(voice[: 1280 * 2])
    assert calls == [
        ("frontend", 0), ("end",), ("infer", 0), ("end",),
        ("frontend", 1), ("end",), ("infer", 1), ("end",),
    ]  # fmt: skip


def test_every_hook_at_once(tmp_path, recognizer, voice):
    pytest.importorskip("hdrh", reason="needs the profile extra")
    pytest.importorskip("prometheus_client", reason="needs the profile extra")
    from edge_ser.runtime.hooks import every_hook

    with (
        every_hook(tmp_path, recognizer) as hooks,
        recognizer.stream(hooks=hooks) as stream,
    ):
        stream.push(voice)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["steps.jsonl", "trace.json"]
    assert len((tmp_path / "steps.jsonl").read_text().splitlines()) == len(voice) // 1280
