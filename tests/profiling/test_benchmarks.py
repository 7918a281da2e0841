from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_ser.errors import MissingExtra
from edge_ser.frontend import LogMelSpec
from edge_ser.runtime import Recognizer
from edge_ser.runtime.bench import bench_audio

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed

from benchmarks.frontend import (
    compare_front_ends,
    graph_front_end,
    kaldi_front_end,
    numpy_front_end,
)
from benchmarks.peers.measure import measure
from benchmarks.peers.peer import Peer, Window
from benchmarks.peers.show import figure, table
from benchmarks.peers.systems import edge_ser, systems
from benchmarks.soak import soak, verdicts


def peer(name: str, hop: int, heard: list[np.ndarray]) -> Peer:
    return Peer(
        name, name.title(), "numbers", "none", "1", hop, lambda: lambda c: heard.append(c.copy())
    )


def test_every_system_hears_the_same_audio_in_its_own_hops(voice):
    heard: dict[str, list[np.ndarray]] = {"edge-ser": [], "odd": [], "slow": []}
    hops = {"edge-ser": 1280, "odd": 999, "slow": 16000}
    peers = [peer(name, hops[name], heard[name]) for name in heard]
    results = measure(peers, voice, warmup_s=1)
    for name, chunks in heard.items():
        assert {len(chunk) for chunk in chunks} == {hops[name]}
        joined = np.concatenate(chunks)
        np.testing.assert_array_equal(joined, voice[: len(joined)])
        assert len(voice) - len(joined) < hops[name]
    assert [len(result.cpu_ns) for result in results] == [3, 3, 3]
    assert len(results[2].wall_ns) == 3
    row = results[2].to_dict()
    assert row["hop_ms"] == 1000
    assert row["latency_ms"] >= 1000


def test_a_system_that_cannot_be_loaded_is_left_out_and_named(voice):
    def broken():
        raise ImportError("No module named 'tqdm'")

    whole, missing = peer("edge-ser", 1280, []), dict[str, str]()
    pair = [replace(peer("other", 512, []), load=broken), whole]
    assert [found.peer for found in measure(pair, voice, warmup_s=0, missing=missing)] == [whole]
    assert missing == {"other": "No module named 'tqdm'"}
    with pytest.raises(ImportError):
        measure(pair, voice, warmup_s=0)


def test_the_table_and_the_figure_tell_all(voice, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the bench extra")
    results = measure([peer("edge-ser", 1280, []), peer("other", 512, [])], voice, warmup_s=0)
    rows = [result.to_dict() for result in results]
    for row, cpu in zip(rows, (2.0, 5.0), strict=True):
        row["cpu_ms_per_audio_s"] = {"median": cpu, "quartiles": [cpu, cpu]}
    document = {
        "systems": rows,
        "missing": {"third": "third is not installed"},
        "audio_s": 4,
        "machine": {"cpu": "A CPU"},
    }
    text = table(document)
    assert "not measured: third (third is not installed)" in text
    ours, other = (line for line in text.splitlines() if line.startswith(("Edge-Ser  ", "Other  ")))
    assert " 1.0" in ours
    assert " 2.5" in other
    figure(document, tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_a_window_keeps_the_newest_samples():
    window = Window(5)
    window.push(np.array([1, 2], np.int16) * 1024)
    samples = window.push(np.array([3, 4, 5], np.int16) * 1024)
    np.testing.assert_array_equal(samples * 32, [1, 2, 3, 4, 5])


def test_our_own_peer_is_the_pack(pack_path, voice):
    ours = edge_ser(str(pack_path), "auto")
    assert ours.hop == 1280
    event = json.loads(ours.load()(voice[:1280]))
    assert event["pack"] == "tiny@1.0"


@pytest.mark.slow
@pytest.mark.parametrize("name", list(systems()))
def test_a_peer_runs(name, voice):
    try:
        found = systems()[name]()
    except ImportError as error:
        pytest.skip(f"needs the bench extra and benchmarks/requirements-nodeps.txt: {error}")
    (result,) = measure([found], voice, warmup_s=0)
    assert len(result.wall_ns) == len(voice) // found.hop
    assert result.cpu_ns[0] > 0


def test_the_peak_is_that_of_the_size_where_the_product_is_best(monkeypatch):
    from benchmarks import arithmetic

    speed = {32: 5.0, 128: 19.0, 256: 7.0}
    found = lambda rows, *_: {"shape": [rows], "best_gmac_s": speed[rows]}  # noqa: E731
    monkeypatch.setattr(arithmetic, "peak", found)
    assert arithmetic.best_peak()["shape"] == [128]


def test_counting_products_names_the_extra_that_it_needs(monkeypatch, pack_path):
    from benchmarks.arithmetic import count_products

    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"onnx .*edge-ser\[convert\]"):
        count_products(Recognizer.open(pack_path).pack)


def test_a_peer_that_is_not_installed_says_how(monkeypatch):
    monkeypatch.setattr("benchmarks.peers.systems.find_spec", lambda name: None)
    for name, how in (("silero-vad", "--no-deps -r benchmarks/"), ("moonshine", "[bench]")):
        with pytest.raises(ImportError, match="is not installed") as told:
            systems()[name]()
        assert how in str(told.value)


def test_the_front_end_in_the_graph_gives_the_same_numbers(voice):
    pytest.importorskip("onnx", reason="needs the convert extra")
    spec = LogMelSpec()
    ours, graph = numpy_front_end(spec), graph_front_end(spec)
    for start in range(0, 20 * 1280, 1280):
        samples = voice[start : start + 1280].astype(np.float32) / np.float32(32768)
        np.testing.assert_allclose(graph(samples), ours(samples), atol=2e-3)


def test_the_front_end_of_kaldi_differs_by_the_level_only(voice):
    pytest.importorskip("kaldi_native_fbank", reason="needs the dev extra")
    spec = LogMelSpec(floor=1e-12)
    ours, kaldi = numpy_front_end(spec), kaldi_front_end(spec)
    for start in range(0, 20 * 1280, 1280):
        samples = voice[start : start + 1280].astype(np.float32) / np.float32(32768)
        difference = kaldi(samples) - ours(samples)
        if start >= 1280:  # the two begin with other padding
            loud = ours(samples * 0) is not None and np.ptp(difference) < 0.1
            assert loud or np.median(np.abs(difference - np.median(difference))) < 0.02


def test_front_ends_are_compared_side_by_side(voice):
    pytest.importorskip("onnx", reason="needs the convert extra")
    pytest.importorskip("kaldi_native_fbank", reason="needs the dev extra")
    document = compare_front_ends(voice.astype(np.float32) / 32768, block_steps=5)
    assert document["blocks"] == 10
    assert list(document["ways"]) == ["numpy", "kaldi", "in-graph"]
    assert document["ways"]["numpy"]["ratio_to_numpy"]["median"] == 1
    json.dumps(document)


def test_a_soak_tells_of_every_block_and_finds_no_drift(pack_path, voice_wav):
    rows = []
    document = soak(
        Recognizer.open(pack_path),
        bench_audio(voice_wav, 16000),
        hours=0.002,
        block_hours=0.001,
        fresh_s=10,
        progress=rows.append,
    )
    assert document["blocks"] == rows
    assert [row["hour"] for row in rows] == [0.001, 0.002]
    assert document["rss_growth_mb"] is not None
    assert document["score_drift"] < 1e-5
    assert document["restart_difference"] == 0
    json.dumps(document)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"last_to_first_median": 1.06}, ["1.060 times"]),
        ({"rss_growth_mb": 1.0}, ["1.00 MB"]),
        ({"rss_growth_mb": None}, []),
        ({"score_drift": float("nan")}, ["nan"]),
        ({"score_drift": 0.01}, ["0.01"]),
        ({"restart_difference": 0.02}, ["0.02"]),
    ],
)
def test_a_soak_that_went_wrong_says_how(change, words):
    good = {
        "last_to_first_median": 1.0,
        "rss_growth_mb": 0.1,
        "score_drift": 0.0,
        "restart_difference": 0.0,
    }
    wrong = verdicts(good | change)
    assert len(wrong) == len(words)
    assert all(word in text for word, text in zip(words, wrong, strict=True))
