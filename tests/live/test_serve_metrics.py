from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import Scripted, Served
from voices import silence, voice

from edge_ser.runtime import Recognizer

pytest.importorskip("starlette", reason="needs the serve extra")
pytest.importorskip("websockets", reason="needs the serve extra")
parser = pytest.importorskip("prometheus_client.parser", reason="needs the serve extra")

from edge_ser.runtime.board import Board
from edge_ser.runtime.hooks.prometheus import BUCKETS_S
from edge_ser.runtime.live_source import SourceGone
from edge_ser.runtime.serve import Service
from edge_ser.runtime.serve.metrics import Metrics

ALWAYS = {
    "ser_build_info", "ser_frames_total", "ser_deadline_misses_total", "ser_abstentions_total",
    "ser_utterances_total", "ser_audio_overflows_total", "ser_audio_dropped_seconds_total",
    "ser_source_losses_total", "ser_source_up", "ser_clients", "ser_clients_dropped_total",
    "ser_hold", "ser_stage_duration_seconds_bucket", "ser_stage_duration_seconds_count",
    "ser_stage_duration_seconds_sum",
}  # fmt: skip


def scrape(served: Served) -> dict[tuple[str, ...], float]:
    """The value of every sample by its name and the values of its labels, in their order."""
    text = served.get("/metrics")[1].decode()
    found: dict[tuple[str, ...], float] = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, *(value for _, value in sorted(sample.labels.items())))
            assert key not in found, "told twice"
            found[key] = sample.value
    return found


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_everything_but_events_and_sensors_is_there_from_the_start(recognizer: Recognizer) -> None:
    it = Served(Service(recognizer))
    found = scrape(it)
    it.stop()
    assert {key[0] for key in found} >= ALWAYS
    assert found["ser_source_up",] == found["ser_frames_total",] == 0
    stage = "ser_stage_duration_seconds"
    assert {key[1] for key in found if key[0] == f"{stage}_count"} == {"frontend", "infer", "post"}
    bounds = [float(key[1]) for key in found if key[::2] == (f"{stage}_bucket", "infer")]
    assert bounds[:-1] == list(BUCKETS_S)


@pytest.mark.parametrize("gate", ["0", "1"])
def test_the_steps_of_a_client_that_breaks_off_are_counted(
    recognizer: Recognizer, gate: str
) -> None:
    it = Served(Service(recognizer))
    with it.ws(f"/v1/stream?gate={gate}") as ws:
        ws.send((voice(1.0) * 32767).astype("<i2").tobytes())
        emotions = 0
        while emotions < (1 if gate == "1" else 12):
            emotions += b'"emotion"' in ws.recv(60, decode=False)
    until(lambda: it.service.n_connections == 0)
    found = scrape(it)
    it.stop()
    assert found["ser_frames_total",] >= emotions
    assert found["ser_stage_duration_seconds_count", "infer"] == found["ser_frames_total",]
    if gate == "0":
        assert found["ser_frames_total",] == 12


def test_a_microphone_tells_of_ages_losses_and_itself(recognizer: Recognizer) -> None:
    chunks: list[Any] = []
    again = threading.Event()
    it = Served(Service(recognizer, open_source=lambda: Scripted(chunks, again)))
    until(lambda: it.service.ready[0])
    talk = np.concatenate([silence(0.3), voice(2.0), silence(1.5)])
    chunks += [talk[i : i + 320] for i in range(0, len(talk), 320)]
    chunks.append((silence(0.1), 4000))
    until(lambda: scrape(it)["ser_audio_overflows_total",] == 1)
    found = scrape(it)
    assert found["ser_audio_dropped_seconds_total",] == 0.25
    assert found["ser_source_up",] == 1
    assert found["ser_utterances_total",] >= 1
    told = sum(value for key, value in found.items() if key[0] == "ser_events_total")
    assert found["ser_frame_age_seconds_count",] == told > 0
    # The last words of the utterance are followed by no more steps, and are told nevertheless.
    assert found["ser_stage_duration_seconds_count", "post"] == found["ser_frames_total",] > 20
    chunks.append(SourceGone("unplugged"))
    until(lambda: scrape(it)["ser_source_losses_total",] == 1)
    it.stop()


def test_the_board_is_told_where_it_has_sensors(recognizer: Recognizer, tmp_path: Path) -> None:
    zone = tmp_path / "sys" / "class" / "thermal" / "thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "type").write_text("gpu-thermal\n")
    (zone / "temp").write_text("47000\n")
    service = Service(recognizer)
    service.metrics = Metrics(recognizer, Board(tmp_path))
    it = Served(service)
    assert scrape(it)["ser_gpu_temperature_celsius",] == 47
    (zone / "temp").write_text("51500\n")
    found = scrape(it)
    it.stop()
    assert found["ser_gpu_temperature_celsius",] == 51.5
    assert not any(key[0].startswith("ser_power") for key in found)
