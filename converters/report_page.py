"""The report of a conversion as one page that loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from edge_ser.converters.report_figures import (
    confusion_table,
    heard_curve,
    parity_bars,
    range_bars,
    reliability_plot,
    risk_curve,
    sensitivity_bars,
)
from edge_ser.pack import Manifest
from edge_ser.pages.html import STYLE, figure, section, table

__all__ = ["render_report"]

_WIDE_NAMES = "svg .tick { font-size: 10px; }"


def render_report(manifest: Manifest, report: dict[str, Any]) -> str:
    """HTML of what was measured and decided while ``manifest``'s pack was made."""
    name = escape(manifest.name)
    parts = [
        _precision(report),
        _parity(report),
        _sensitivity(report),
        _ranges(report),
        _confidence(manifest),
        _heard(manifest),
        _abstention(manifest),
        _confusion(manifest, report),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}: conversion</title><style>{STYLE}{_WIDE_NAMES}</style></head><body><main>"
        f"<h1>Conversion of {name}</h1><p>{escape(manifest.description)}.</p>"
        f"{''.join(parts)}</main></body></html>\n"
    )


def _precision(report: dict[str, Any]) -> str:
    choice = report["precision"]
    if choice is None:
        return section("Precision", "<p>No model for CPUs was asked for.</p>")
    rows = [
        (
            row["precision"]
            + (f" ({', '.join(kept)} in float)" if (kept := row["float_layers"]) else ""),
            f"{row['step_us']:.0f}",
            f"{row['bytes'] / 1000:.0f}",
            f"{100 * row['agreement']:.1f} %",
            f"{100 * row['uar_change']:+.2f}",
            f"{row['mean_score_error']:.4f}",
            "; ".join(row["missed"]) or "none",
        )
        for row in choice["candidates"]
    ]
    head = (
        "form", "step, µs", "kB", "same label", "UAR, points", "score error", "gates missed"
    )  # fmt: skip
    return section(
        "Precision",
        f"<p><strong>{escape(choice['precision'])}</strong> was chosen: "
        f"{escape(choice['reason'])}.</p>",
        table("Built, gated against float and timed on this machine", head, rows),
    )


def _parity(report: dict[str, Any]) -> str:
    clips = report["clips"]
    apart = "other speakers than" if clips["speaker_disjoint"] else "partly the same speakers as"
    rows = (
        (
            name,
            f"{100 * p['agreement']:.1f} %",
            f"{100 * p['step_agreement']:.1f} %",
            f"{100 * (p['uar_change'] or 0.0):+.2f}",
            f"{p['mean_score_error']:.4f}",
            f"{p['worst_score_error']:.3f}",
        )
        for name, p in report["parity"].items()
    )
    head = ("form", "same label", "of steps", "UAR, points", "score error", "worst of any step")
    return section(
        "Parity",
        figure(
            parity_bars(report["parity"]),
            f"{clips['parity']} clips, {apart} the calibration clips.",
        ),
        table("Against the float graph on the same clips", head, rows),
    )


def _sensitivity(report: dict[str, Any]) -> str:
    found = report["sensitivity"]
    if not found:
        return ""
    head = ("layer in INT8", "score error", "worst", "same label", "signal to noise, dB")
    rows = (
        (
            cost["layer"],
            f"{cost['score_error']:.5f}",
            f"{cost['worst_score_error']:.3f}",
            f"{100 * cost['agreement']:.1f} %",
            f"{cost['noise_db']:.1f}",
        )
        for cost in (*found["layers"], *found["together"])
    )
    return section(
        "Sensitivity of layers",
        figure(
            sensitivity_bars(found),
            f"One layer rounded, all others in float; {found['steps']} streaming steps of "
            f"{found['clips']} clips. First to keep in higher precision: "
            f"{', '.join(found['keep'])}.",
        ),
        table("inputs, weights, all: those of every layer at once", head, rows),
    )


def _ranges(report: dict[str, Any]) -> str:
    found = report["calibration"]
    if not found["ranges"]:
        return ""
    return section(
        "Activation ranges",
        figure(
            range_bars(found["ranges"]),
            f"{found['method']} over {found['steps']} streaming steps of {found['clips']} clips, "
            "with the state that the stream really has.",
        ),
    )


def _confidence(manifest: Manifest) -> str:
    found = manifest.calibration
    if not found.reliability:
        return section(
            "Confidence",
            "<p>Not calibrated: the checkpoint carries no verdicts on speakers that it was not "
            "trained on. All folds of <code>edge-ser distill</code>, then <code>--fold all</code> "
            "with the same <code>--out</code>, give them.</p>",
        )
    return section(
        "Confidence",
        f"<p>Temperature {found.temperature:g}, found on {escape(found.source)}. Expected "
        f"calibration error {found.ece_before} before, {found.ece_after} after.</p>",
        figure(reliability_plot(found), "On the diagonal a confidence means what it says."),
    )


def _heard(manifest: Manifest) -> str:
    points = manifest.calibration.heard
    if not points:
        return ""
    head = ("seconds heard", "clips", "accuracy", "ECE before", "ECE after", "temperature")
    return section(
        "Before the utterance has ended",
        figure(heard_curve(manifest.calibration), "Full: accuracy. Hollow: calibration error."),
        table(
            "Clips that are at least so long. ECE before: with the temperature of whole clips; "
            "of whole clips, with none",
            head,
            _heard_rows(manifest),
        ),
    )


def _heard_rows(manifest: Manifest) -> Iterable[tuple[str, ...]]:
    calibration = manifest.calibration
    for p in calibration.heard:
        yield (
            f"{p.heard_s:g}", str(p.n), f"{p.accuracy:.3f}", f"{p.ece_before:.3f}",
            f"{p.ece_after:.3f}", f"{p.temperature:.2f}",
        )  # fmt: skip
    whole = calibration.risk_coverage[0]
    n = sum(b.n for b in calibration.reliability)
    yield (
        "whole clip", str(n), f"{whole.accuracy:.3f}", f"{calibration.ece_before:.3f}",
        f"{calibration.ece_after:.3f}", f"{calibration.temperature:.2f}",
    )  # fmt: skip


def _abstention(manifest: Manifest) -> str:
    points = manifest.calibration.risk_coverage
    if not points:
        return ""
    rows = (
        (
            f"{p.coverage:.0%}",
            f"{p.accuracy:.3f}",
            f"{1 - p.accuracy:.3f}",
            f"{p.abstain_below:.3f}",
        )
        for p in points
    )
    return section(
        "Abstaining",
        figure(
            risk_curve(manifest.calibration),
            f"This pack abstains below {manifest.calibration.abstain_below:g}.",
        ),
        table("Thresholds to choose from", ("coverage", "accuracy", "risk", "abstain below"), rows),
    )


def _confusion(manifest: Manifest, report: dict[str, Any]) -> str:
    found = report["accuracy"]
    if found:
        tables = [
            confusion_table(
                scores["confusion"],
                f"{name}: UAR {scores['uar']:.3f}, accuracy {scores['accuracy']:.3f}, "
                f"{scores['n']} clips of this checkpoint's test speakers",
            )
            for name, scores in found.items()
        ]
        return section("Confusion", *tables)
    corpora = manifest.metrics.get("cross_validation", {}).get("corpora", {})
    tables = [
        confusion_table(
            scores["confusion"],
            f"{name}, cross-validated: UAR {scores['uar']:.3f}, {scores['n']} clips",
        )
        for name, scores in corpora.items()
    ]
    return section(
        "Confusion",
        *(tables or ["<p>No clips of speakers that the checkpoint was not trained on.</p>"]),
    )
