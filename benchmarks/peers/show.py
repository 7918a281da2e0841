"""The table and the figure."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edge_ser.errors import MissingExtra, UsageError
from edge_ser.files import replace_file

__all__ = ["check_figure", "figure", "table"]

_FORMATS = (".pdf", ".png", ".svg")


def table(document: dict[str, Any]) -> str:
    """The results as columns, the cheapest first."""
    rows = sorted(document["systems"], key=lambda row: row["cpu_ms_per_audio_s"]["median"])
    ours = next(row for row in rows if row["name"] == "edge-ser")
    base = ours["cpu_ms_per_audio_s"]["median"]
    lines = [
        f"{document['audio_s']} s of audio, one thread, in turn; {document['machine']['cpu']}",
        f"{'':<44}{'CPU ms per s':>13}{'x ours':>9}{'per result':>12}{'result after':>14}"
        f"{'memory':>9}",
    ]
    for row in rows:
        cpu = row["cpu_ms_per_audio_s"]["median"]
        memory = "" if row["rss_mb"] is None else f"{row['rss_mb']:.0f} MB"
        lines.append(
            f"{row['title']:<44}{cpu:>13.3f}{cpu / base:>9.1f}{row['call_ms']['p50']:>9.3f} ms"
            f"{row['latency_ms']:>11.1f} ms{memory:>9}"
        )
    lines += ["", "result after: one hop of waiting at most, and p90 of the computation", ""]
    lines += [f"{row['title']}: {row['version']}; {row['settings']}" for row in rows]
    lines += [f"not measured: {name} ({why})" for name, why in document["missing"].items()]
    return "\n".join(lines)


def check_figure(path: Path) -> None:
    """Find out before long work whether :func:`figure` can draw ``path``.

    Raises:
        UsageError: its name ends like no format that is drawn.
        MissingExtra: matplotlib is not installed.
    """
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(f"{path}: a figure is drawn as {', '.join(_FORMATS)}; name it so")
    if find_spec("matplotlib") is None:
        raise MissingExtra("matplotlib", "bench", "draw a figure")


def figure(document: dict[str, Any], path: Path) -> None:
    """CPU time per second of audio as bars on a logarithmic axis, with their quartiles."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = sorted(document["systems"], key=lambda row: -row["cpu_ms_per_audio_s"]["median"])
    values = [row["cpu_ms_per_audio_s"]["median"] for row in rows]
    quartiles = [row["cpu_ms_per_audio_s"]["quartiles"] for row in rows]
    spread = [
        [value - low for value, (low, _) in zip(values, quartiles, strict=True)],
        [high - value for value, (_, high) in zip(values, quartiles, strict=True)],
    ]
    colors = ["#b1480e" if row["name"] == "edge-ser" else "#2b6cb0" for row in rows]
    drawing, axes = pyplot.subplots(figsize=(8, 0.5 * len(rows) + 1.4), layout="constrained")
    bars = axes.barh([row["title"] for row in rows], values, xerr=spread, color=colors, capsize=2)
    axes.bar_label(bars, [f" {value:.3g}" for value in values], padding=4, fontsize=9)
    axes.set_xscale("log")
    axes.set_xlim(right=max(values) * 4)
    axes.set_xlabel("CPU milliseconds per second of audio, one thread (logarithmic)")
    axes.spines[["top", "right"]].set_visible(False)
    with replace_file(path) as file:
        drawing.savefig(file, format=path.suffix[1:].lower(), dpi=150)
    pyplot.close(drawing)
