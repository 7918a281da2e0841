"""Results in words and columns, for a terminal."""

from __future__ import annotations

from typing import Any

__all__ = ["describe", "describe_comparison", "one_process", "whole_machine"]


def describe(document: dict[str, Any]) -> str:
    """The summary of a benchmark document, several lines."""
    d = document
    latency = d["latency_ms"]
    feed = "as live" if d["paced"] else "as fast as possible"
    share = 100 * d["real_time_factor"]
    lines = [
        f"{d['pack']} ({d['precision']}, {d['backend']}, {_count(d['threads'], 'thread')})",
        f"  {d['steps']} steps of {d['step_ms']:g} ms from {d['audio']['file']}, {feed}, "
        f"after {d['warmup_steps']} steps of warm-up",
        "",
        f"  one stream    p90 {latency['p90']:.3f} ms"
        f"    (p50 {latency['p50']:.3f}, p99 {latency['p99']:.3f}, "
        f"p99.9 {latency['p999']:.3f}, max {latency['max']:.3f})",
        f"                {share:.2f} % of real time, "
        f"{_count(d['deadline_misses'], 'deadline')} missed",
    ]
    if "age_ms" in d:
        age = d["age_ms"]
        lines.append(f"                event {age['p50']:.3f} ms after the sound at the median")
    lines.append("  stages        median      p99")
    for name, times in d["stages"].items():
        note = "   (after the step)" if name == "publish" else ""
        lines.append(f"    {name:<10} {times['p50']:8.4f} {times['p99']:8.4f} ms{note}")
    if "multi_stream" in d:
        lines += _streams(d["multi_stream"], d["step_ms"])
    if "offline" in d:
        rate = d["offline"]["hours_per_minute"]
        lines.append(f"  offline       {rate:.2f} hours of audio a minute")
    if d["cold_start_ms"] is not None:
        lines.append(
            f"  fresh start   first event after {d['cold_start_ms']:.0f} ms, "
            f"import {d['import_ms']:.0f} ms"
        )
    if d["rss_mb"] is not None:
        lines.append(f"  memory        {d['rss_mb']:.0f} MB")
    for name, why in d.get("missing", {}).items():
        lines.append(f"  not measured  {name.replace('_', ' ')}: {why}")
    machine = d["machine"]
    lines.append(
        f"  machine       {machine.get('board') or machine.get('cpu', machine['arch'])}, "
        f"{_count(machine['cores'], 'core')}, load {machine.get('load_1min', 'unknown')}, "
        f"fingerprint {machine['id']}"
    )
    if d["short_run"]:
        lines.append("  a short run (LoadGen asks for ten minutes): good for a look, not to quote")
    return "\n".join(lines)


def _streams(many: dict[str, Any], step_ms: float) -> list[str]:
    whole = many["whole_machine"]
    each = (
        ""
        if whole["processes"] == 1
        else f", {whole['streams_per_process']} in each at the same time"
    )
    return [
        f"  multi-stream  {many['streams']} live streams {one_process(many)} ({many['way']})",
        f"                {whole['streams']} on the whole machine ({whole_machine(whole)}{each})",
        f"                held: p99 of {_count(many['ticks'], 'tick')} of all streams at once "
        f"within {step_ms:g} ms",
    ]


def one_process(many: dict[str, Any]) -> str:
    """What the first number of a multi-stream result is of, with its threads."""
    threads = many["threads"]
    return "on one core, 1 thread" if threads == 1 else f"in one process, {threads} threads"


def whole_machine(whole: dict[str, Any]) -> str:
    """What the number for the whole machine is of."""
    threads = _count(whole["threads"], "thread")
    processes = _count(whole["processes"], "process")
    return f"{processes} of {threads}"


def describe_comparison(document: dict[str, Any]) -> str:
    """The summary of a comparison, several lines."""
    a, b = document["a"], document["b"]
    lines = [
        f"{document['blocks']} blocks of {document['block_steps']} steps each, "
        "A and B in turn, the same audio",
        "                          median       p90       p99      cpu per second of audio",
    ]
    for name, side in (("A", a), ("B", b)):
        latency = side["latency_ms"]
        hooks = ", hooks" if side["hooks"] else ""
        lines.append(
            f"  {name} {side['pack']} ({side['precision']}, {side['backend']}, "
            f"{_count(side['threads'], 'thread')}{hooks})"
        )
        lines.append(
            f"                      {latency['p50']:10.4f}{latency['p90']:10.4f}"
            f"{latency['p99']:10.4f} ms   {side['cpu_ms_per_audio_s']:.3f} ms"
        )
    for key, words in (("step_time", "step time"), ("cpu_time", "cpu time")):
        ratio = document["ratio_b_to_a"][key]
        low, high = ratio["interval_95"]
        lines.append(
            f"  B / A in {words:<9}  {ratio['median']:.3f}"
            f"   (95 % interval {low:.3f} to {high:.3f}; "
            f"blocks' quartiles {ratio['quartiles'][0]:.3f} to {ratio['quartiles'][1]:.3f})"
        )
    total = document["ratio_b_to_a"]["cpu_total"]
    low, high = total["interval_95"]
    lines.append(
        f"  B / A in all cpu time  {total['ratio']:.3f}"
        f" (95 % interval {low:.3f} to {high:.3f}), with what only some blocks have"
    )
    lines.append(f"  {document['verdict']}")
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    if number == 1:
        return f"{number} {noun}"
    return f"{number} {noun}es" if noun.endswith("s") else f"{number} {noun}s"
