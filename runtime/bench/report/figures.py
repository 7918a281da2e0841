"""The figures of a benchmark's page."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.pages.svg import Axis, Plot
from edge_ser.runtime.bench.single import StepTimes
from edge_ser.runtime.bench.text import one_process

__all__ = ["distribution", "stage_bars", "streams_curve", "timeline"]

_BINS = 60
_BUCKETS = 240


def distribution(times: StepTimes, latency: dict[str, float]) -> str:
    """How many steps took how long."""
    ms = _above_zero_ms(times)
    low, high = float(ms.min()) * 0.95, float(ms.max()) * 1.05
    edges = np.geomspace(low, high, _BINS + 1)
    counts, _ = np.histogram(ms, edges)
    plot = Plot(
        Axis(low, high, "time of a step, ms (logarithmic)", log=True),
        Axis(0, float(counts.max()) * 1.25, "steps"),
    )
    for left, right, count in zip(edges, edges[1:], counts.tolist(), strict=False):
        if count:
            plot.bar(float(left), float(right), count)
    for row, key in enumerate(("p50", "p90", "p99")):
        plot.upright(latency[key], f"{key} {latency[key]:.3g} ms", row)
    return plot.svg(
        "distribution",
        "Distribution of step times",
        f"Half of the {len(ms)} steps took at most {latency['p50']:.3g} ms, nine of ten at most "
        f"{latency['p90']:.3g} ms, 99 of 100 at most {latency['p99']:.3g} ms; the longest took "
        f"{latency['max']:.3g} ms.",
    )


def timeline(times: StepTimes) -> str:
    """Median and longest step over the course of the run."""
    ms = _above_zero_ms(times)
    parts = np.array_split(ms, min(_BUCKETS, len(ms)))
    tops = [float(part.max()) for part in parts]
    middles = [float(np.median(part)) for part in parts]
    step_s = times.deadline_ns / 1e9
    ends = np.cumsum([len(part) for part in parts]) * step_s
    low, high = min(middles) * 0.8, max(tops) * 1.25
    plot = Plot(
        Axis(0, float(ends[-1]), "position in the audio, s"),
        Axis(low, high, "ms (logarithmic)", log=True),
    )
    begins = np.concatenate([[0.0], ends[:-1]])
    for begin, end, top in zip(begins.tolist(), ends.tolist(), tops, strict=True):
        plot.bar(begin, end, top, "bar pale", y0=low)
    centres = ((begins + ends) / 2).tolist()
    if len(parts) > 1:
        plot.line(list(zip(centres, middles, strict=True)))
    late = times.deadline_misses
    if high > times.deadline_ns / 1e6:
        plot.level(times.deadline_ns / 1e6, f"deadline {times.deadline_ns / 1e6:g} ms")
    return plot.svg(
        "timeline",
        "Step times over the run",
        f"Line: median; pale: longest step of each {len(parts[0])} steps. The median of the first "
        f"tenth is {np.median(ms[: max(len(ms) // 10, 1)]):.3g} ms, of the last "
        f"{np.median(ms[-max(len(ms) // 10, 1) :]):.3g} ms; {late} steps missed the deadline.",
    )


def _above_zero_ms(times: StepTimes) -> NDArray[np.float64]:
    """Step times for a logarithmic axis; a coarse clock says 0 of what was quicker than it."""
    return np.maximum(times.step_ns, 1) / 1e6


def stage_bars(stages: dict[str, dict[str, float]]) -> str:
    """Median of every stage as a bar, its 99th percentile as a dot."""
    names = list(stages)
    highest = max(stage["p99"] for stage in stages.values())
    lowest = min(max(stage["p50"], 1e-4) for stage in stages.values()) / 2
    height = 70 + 30 * len(names)
    rows = [len(names) - index - 0.5 for index in range(len(names))]
    plot = Plot(
        Axis(lowest, max(highest * 2, lowest * 10), "ms (logarithmic)", log=True),
        Axis(0, len(names), "", ticks=rows),
        height,
        names,
    )
    for name, row in zip(names, rows, strict=True):
        stage = stages[name]
        plot.bar(lowest, max(stage["p50"], lowest), row + 0.3, y0=row - 0.3)
        plot.dot(stage["p99"], row)
        plot.text(stage["p99"], row, f"p50 {stage['p50']:.3g}, p99 {stage['p99']:.3g}", dx=9)
    words = "; ".join(f"{name} {stages[name]['p50']:.3g} ms" for name in names)
    return plot.svg(
        "stages",
        "Time by stage",
        f"Bar: median; dot: 99th percentile. Medians: {words}.",
    )


def streams_curve(many: dict[str, Any], deadline_ms: float) -> str:
    """What a tick of so many streams takes, against the deadline."""
    trials = many["trials"]
    counts = [trial["streams"] for trial in trials]
    tops = [trial["tick_ms"]["p99"] for trial in trials]
    plot = Plot(
        Axis(0, max(counts) * 1.1 + 1, f"live streams {one_process(many)}"),
        Axis(0, max(*tops, deadline_ms) * 1.15, "p99 of a tick, ms"),
    )
    plot.level(deadline_ms, f"deadline {deadline_ms:g} ms")
    plot.line(list(zip(counts, tops, strict=True)))
    for trial, top in zip(trials, tops, strict=True):
        plot.dot(trial["streams"], top, "dot" if trial["held"] else "dot hollow")
    return plot.svg(
        "streams",
        f"Live streams {one_process(many)}",
        f"Up to {many['streams']} streams were served within {deadline_ms:g} ms at the p99 of "
        f"{many['ticks']} ticks, stepped {many['way']}. Full dots held the deadline, hollow ones "
        "did not.",
    )
