"""The page around the figures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from edge_ser.files import write_text
from edge_ser.pages.html import STYLE, figure, section, table
from edge_ser.runtime.bench.report.figures import (
    distribution,
    stage_bars,
    streams_curve,
    timeline,
)
from edge_ser.runtime.bench.run import BenchRun, too_slow
from edge_ser.runtime.bench.text import one_process, whole_machine

__all__ = ["render_page", "write_report"]


def write_report(run: BenchRun, path: Path) -> None:
    """Write the page of ``run`` to ``path``.

    Raises:
        InputError: it cannot be written.
    """
    write_text(path, render_page(run))


def render_page(run: BenchRun) -> str:
    """The page of ``run`` as HTML that loads nothing from anywhere."""
    d = run.document
    name = escape(d["pack"])
    sections = [
        section(
            "Distribution",
            figure(distribution(run.times, d["latency_ms"]), "Step times, first sample to event."),
            _percentile_table(d),
        ),
        section(
            "Timeline",
            figure(timeline(run.times), "Line: median; pale: longest step of each interval."),
        ),
        section(
            "Stages",
            figure(
                stage_bars(d["stages"]),
                "Bar: median; dot: 99th percentile. publish is writing the event as JSON, after "
                "the step.",
            ),
            table(
                "Time by stage, ms",
                ("stage", "p50", "p99"),
                ((key, f"{v['p50']:.4f}", f"{v['p99']:.4f}") for key, v in d["stages"].items()),
            ),
        ),
        _streams(d),
        section("Start and memory", _start_table(d)),
        section("Machine", _machine_table(d)),
        section("How it was measured", _method(d)),
    ]
    document = json.dumps(d, indent=1, ensure_ascii=False)
    slow = too_slow(d)
    missing = (
        f"Not measured: {name.replace('_', ' ')} ({why})."
        for name, why in d.get("missing", {}).items()
    )
    warning = "".join(
        f'<p class="warning">{escape(words)}</p>' for words in (slow, *missing) if words
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}: latency</title><style>{STYLE}</style></head><body><main>"
        f"<h1>Latency of {name}</h1>"
        f"<p>{escape(d['precision'])} on {escape(d['backend'])}, "
        f"{'1 thread' if d['threads'] == 1 else str(d['threads']) + ' threads'}, "
        f"steps of {d['step_ms']:g} ms, {escape(_place(d))}.</p>{warning}"
        f"{_tiles(d)}{''.join(sections)}"
        f"<details><summary>All numbers as JSON</summary><pre>{escape(document)}</pre></details>"
        "</main></body></html>\n"
    )


def _tiles(d: dict[str, Any]) -> str:
    tiles = [
        (f"{d['latency_ms']['p90']:.3g} ms", "p90 of a step (single stream)"),
        (f"{100 * d['real_time_factor']:.2g} %", f"of {_what_it_takes(d)} for one live stream"),
        (str(d["deadline_misses"]), f"of {d['steps']} deadlines missed"),
    ]
    if "multi_stream" in d:
        many = d["multi_stream"]
        whole = many["whole_machine"]
        tiles.append((str(many["streams"]), f"live streams {one_process(many)}"))
        words = f"live streams on the whole machine, {whole_machine(whole)}"
        tiles.append((str(whole["streams"]), words))
    if "offline" in d:
        tiles.append((f"{d['offline']['hours_per_minute']:.3g} h", "of recordings a minute"))
    if d["cold_start_ms"] is not None:
        tiles.append((f"{d['cold_start_ms']:.0f} ms", "from process start to first event"))
    items = (f"<li><strong>{escape(a)}</strong><span>{escape(b)}</span></li>" for a, b in tiles)
    return f'<ul class="tiles">{"".join(items)}</ul>'


def _what_it_takes(d: dict[str, Any]) -> str:
    return "one core" if d["threads"] == 1 else f"the time of {d['threads']} threads"


def _streams(d: dict[str, Any]) -> str:
    if "multi_stream" not in d:
        return ""
    many = d["multi_stream"]
    whole = many["whole_machine"]
    head = ("streams", "ticks", "p50", "p99", "in time")
    return section(
        "Streams per core" if many["threads"] == 1 else "Streams per process",
        figure(
            streams_curve(many, d["step_ms"]),
            "Every stream's samples arrive at the same moment, the worst case. Full dots held the "
            f"deadline: p99 of {many['ticks']} ticks, of fewer where it was lost before.",
        ),
        table(f"Ticks by number of streams {one_process(many)}, ms", head, _trials(many)),
        table(
            f"The same on the whole machine, {whole_machine(whole)}: streams of all together, the "
            "slowest one's ticks, ms",
            head,
            _trials(whole),
        ),
    )


def _trials(result: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for trial in result["trials"]:
        yield (
            str(trial["streams"]),
            str(trial["ticks"]),
            f"{trial['tick_ms']['p50']:.2f}",
            f"{trial['tick_ms']['p99']:.2f}",
            "yes" if trial["held"] else "no",
        )


def _percentile_table(d: dict[str, Any]) -> str:
    rows = [("step", *(f"{d['latency_ms'][key]:.4f}" for key in d["latency_ms"]))]
    if "age_ms" in d:
        rows.append(("age of the event", *(f"{d['age_ms'][key]:.4f}" for key in d["latency_ms"])))
    return table("Milliseconds", ("", "p50", "p90", "p99", "p99.9", "max"), rows)


def _start_table(d: dict[str, Any]) -> str:
    rows = []
    if d["cold_start_ms"] is not None:
        rows += [
            ("first event after process start", f"{d['cold_start_ms']:.0f} ms"),
            ("from edge_ser.runtime import Recognizer", f"{d['import_ms']:.0f} ms"),
        ]
    if d["rss_mb"] is not None:
        rows.append(("resident memory while streaming", f"{d['rss_mb']:.1f} MB"))
    fresh = d["fresh_processes"]
    note = f"Medians of {fresh['processes']} fresh processes" if fresh else "This process"
    return table(note, (), rows, "facts")


def _machine_table(d: dict[str, Any]) -> str:
    rows = [(key.replace("_", " "), _words(value)) for key, value in d["machine"].items()]
    for when, condition in d["board"].items():
        rows += [
            (f"{key.replace('_', ' ')} {when}", _words(value))
            for key, value in condition.items()
            if key not in ("source", "memory_total_mb")
        ]
    return table("What it ran on; what the board did not tell is not listed", (), rows, "facts")


def _method(d: dict[str, Any]) -> str:
    audio = d["audio"]
    feed = "as slowly as a microphone" if d["paced"] else "as fast as possible"
    text = (
        f"<p>{audio['seconds']:g} s of {escape(audio['file'])} (SHA-256 of its samples "
        f"{audio['sha256'][:16]}…), fed {feed} in chunks of one step, after {d['warmup_steps']} "
        f"steps of warm-up; seed {d['seed']}; edge-ser {escape(d['version'])}. A step lasts from "
        "its samples being handed over to its event being there. Percentiles are durations that "
        "were measured, none is interpolated.</p>"
    )
    if d["short_run"]:
        text += (
            "<p>A short run: MLPerf's LoadGen asks for ten minutes before a number is quoted.</p>"
        )
    return text


def _place(d: dict[str, Any]) -> str:
    machine = d["machine"]
    return str(machine.get("board") or machine.get("cpu") or machine["arch"])


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {number:g}" for key, number in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)
