"""The figures of a conversion's report."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from edge_ser.pack import Calibration
from edge_ser.pages.svg import Axis, Plot

__all__ = [
    "confusion_table",
    "heard_curve",
    "parity_bars",
    "range_bars",
    "reliability_plot",
    "risk_curve",
    "sensitivity_bars",
]


def range_bars(ranges: dict[str, Sequence[float]]) -> str:
    """What each activation spans."""
    low = min(min(span[0] for span in ranges.values()), 0.0)
    high = max(span[1] for span in ranges.values())
    plot, rows = _rows(list(ranges), Axis(low * 1.1 - 0.1, high * 1.5, "value"))
    for (begin, end), row in zip(ranges.values(), rows, strict=True):
        plot.bar(begin, end, row + 0.3, y0=row - 0.3)
        plot.text(end, row, f"{begin:.3g} to {end:.3g}")
    widest = max(ranges, key=lambda name: ranges[name][1] - ranges[name][0])
    return plot.svg(
        "ranges",
        "Activation ranges",
        f"The widest is {widest}, from {ranges[widest][0]:.3g} to {ranges[widest][1]:.3g}.",
    )


def sensitivity_bars(sensitivity: dict[str, Any]) -> str:
    """Mean score error with one layer in INT8, and with all."""
    costs = [*sensitivity["layers"], *sensitivity["together"]]
    names = [cost["layer"] for cost in costs]
    high = max(max(cost["score_error"] for cost in costs), 1e-6)
    plot, rows = _rows(names, Axis(0.0, high * 1.25, "mean error of a probability"))
    for cost, row in zip(costs, rows, strict=True):
        kept = cost["layer"] in sensitivity["keep"]
        plot.bar(0.0, cost["score_error"], row + 0.3, "dot" if kept else "bar", y0=row - 0.3)
        plot.text(cost["score_error"], row, f"{cost['score_error']:.2g}")
    return plot.svg(
        "sensitivity",
        "What rounding each layer alone costs",
        f"Most sensitive: {', '.join(sensitivity['keep'])}.",
    )


def parity_bars(parity: dict[str, dict[str, Any]]) -> str:
    """Mean score error of every form against float."""
    names = list(parity)
    high = max(max(values["mean_score_error"] for values in parity.values()), 1e-6)
    plot, rows = _rows(names, Axis(0.0, high * 1.5, "mean error of a final probability"))
    for values, row in zip(parity.values(), rows, strict=True):
        plot.bar(0.0, values["mean_score_error"], row + 0.3, y0=row - 0.3)
        plot.text(
            values["mean_score_error"],
            row,
            f"{values['mean_score_error']:.2g}, {100 * values['agreement']:.1f} % same label",
        )
    worst = max(parity, key=lambda name: float(parity[name]["mean_score_error"]))
    return plot.svg("parity", "Parity with float", f"{worst} is furthest from float.")


def reliability_plot(calibration: Calibration) -> str:
    """Accuracy against confidence; on the diagonal a confidence means what it says."""
    plot = _unit_plot("confidence", "share right")
    plot.line([(0.0, 0.0), (1.0, 1.0)], "grid")
    bins = calibration.reliability
    plot.line([(b.confidence, b.accuracy) for b in bins])
    for b in bins:
        plot.dot(b.confidence, b.accuracy)
        plot.text(b.confidence, b.accuracy, f"{b.n}", dx=8)
    return plot.svg(
        "reliability",
        "Confidence against accuracy",
        f"Expected calibration error {calibration.ece_after}; beside each dot its clips.",
    )


def heard_curve(calibration: Calibration) -> str:
    """Accuracy and calibration error against seconds heard."""
    points = calibration.heard
    plot = Plot(
        Axis(0.0, points[-1].heard_s * 1.1, "seconds of speech heard"),
        Axis(0.0, 1.0, "accuracy; calibration error"),
    )
    plot.line([(p.heard_s, p.accuracy) for p in points])
    plot.line([(p.heard_s, p.ece_after) for p in points], "mark")
    for p in points:
        plot.dot(p.heard_s, p.accuracy)
        plot.text(p.heard_s, p.accuracy + 0.06, f"{p.accuracy:.2f}", dx=-10)
        plot.dot(p.heard_s, p.ece_after, "dot hollow")
        plot.text(p.heard_s, p.ece_after + 0.06, f"{p.ece_after:.3f}", dx=-10)
    return plot.svg(
        "heard",
        "Accuracy and calibration error against seconds heard",
        f"Accuracy is {points[0].accuracy:.2f} after {points[0].heard_s:g} s and "
        f"{points[-1].accuracy:.2f} after {points[-1].heard_s:g} s, of clips that last so long.",
    )


def risk_curve(calibration: Calibration) -> str:
    """Accuracy of those that do not abstain."""
    points = calibration.risk_coverage
    plot = _unit_plot("share of clips with an answer", "share right among them")
    plot.line([(p.coverage, p.accuracy) for p in points])
    for p in points:
        plot.dot(p.coverage, p.accuracy)
    kept = min(points, key=lambda p: abs(p.coverage - 0.8))
    plot.upright(kept.coverage, f"{kept.accuracy:.3f} right of the surest {kept.coverage:.0%}")
    return plot.svg(
        "risk",
        "Accuracy against coverage",
        f"{points[0].accuracy:.3f} of all clips are right, {kept.accuracy:.3f} of the surest "
        f"{kept.coverage:.0%}.",
    )


def confusion_table(confusion: dict[str, Any], caption: str) -> str:
    """Counts, the darker the larger their share of the row."""
    labels = confusion["labels"]
    head = "".join(f'<th scope="col">{escape(label)}</th>' for label in labels)
    body = []
    for label, row in zip(labels, confusion["matrix"], strict=True):
        total = max(sum(row), 1)
        cells = "".join(
            f'<td style="background: rgb(43 108 176 / {0.6 * n / total:.2f})">{n}</td>' for n in row
        )
        body.append(f'<tr><th scope="row">{escape(label)}</th>{cells}</tr>')
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr><th>true \\ heard</th>{head}</tr>"
        f"</thead><tbody>{''.join(body)}</tbody></table>"
    )


def _rows(names: Sequence[str], across: Axis) -> tuple[Plot, list[float]]:
    """A plot with one row for each name, and where the rows are."""
    rows = [len(names) - index - 0.5 for index in range(len(names))]
    up = Axis(0, len(names), "", ticks=rows)
    return Plot(across, up, 70 + 24 * len(names), names), rows


def _unit_plot(across: str, up: str) -> Plot:
    return Plot(Axis(0.0, 1.0, across), Axis(0.0, 1.0, up))
