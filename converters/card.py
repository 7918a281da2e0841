"""The model card of a pack, from its manifest and its conversion report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_ser.corpora import NAMINGS
from edge_ser.pack import Manifest

__all__ = ["model_card"]


def model_card(manifest: Manifest, report: dict[str, Any]) -> str:
    """Markdown for people who decide whether to use the pack."""
    spec, training = manifest.frontend, manifest.training
    lines = [
        f"# {manifest.name}",
        "",
        f"{manifest.description}. {training['parameters']:,} parameters; "
        f"{spec.rate_hz} Hz mono audio in, the probability of "
        f"{', '.join(manifest.labels)} out, every {spec.step_ms:g} ms.",
        "",
        "## Training data",
        "",
        f"Protocol: {training['protocol']}. {_kind_of_speech(training['corpora'])}",
        "",
        "| corpus | clips | terms | source |",
        "|---|---|---|---|",
        *(
            f"| {name} | {facts['clips']} | {facts['licence']} | {facts['citation']} |"
            for name, facts in training["corpora"].items()
        ),
        "",
        *_teacher(training),
        "Commercial use of this pack is "
        + (
            "allowed by these terms."
            if manifest.commercial_use
            else "**not** allowed by these terms."
        ),
        "",
        "## Accuracy",
        "",
        *_accuracy(manifest.metrics),
        "## Numeric forms",
        "",
        "Against the float model on the same clips, final verdicts:",
        "",
        "| form | label agreement | UAR change | mean score error |",
        "|---|---|---|---|",
        *(
            f"| {name} | {p['agreement']:.1%} | {100 * p['uar_change']:+.1f} points "
            f"| {p['mean_score_error']:.4f} |"
            for name, p in report["parity"].items()
        ),
        "",
        f"INT8 ranges: {report['calibration']['method']} over {report['calibration']['steps']} "
        f"streaming steps of {report['calibration']['clips']} clips.",
        "",
        "## Confidence",
        "",
        f"Temperature {manifest.calibration.temperature:g}, found on "
        f"{manifest.calibration.source}. Expected calibration error "
        f"{_figure(manifest.calibration.ece_before)} before, "
        f"{_figure(manifest.calibration.ece_after)} after. "
        f"Events below {manifest.calibration.abstain_below:g} are marked as abstained.",
        "",
        "## Who it was not tested on",
        "",
        "Spontaneous speech, children, old people, speakers of other languages than the corpora "
        "hold, people with speech disorders, far-field and telephone audio, several speakers at "
        "once. Expect it to be worse there, by an unknown amount.",
        "",
        "## What it must not be used for",
        "",
        "It hears how something is said by an actor's convention; it does not know what a person "
        "feels. Do not use it to judge people: not in hiring, education, insurance, policing, "
        "border control, credit, medical diagnosis or at work (the EU AI Act forbids emotion "
        "inference at work and in education). Tell people that it listens.",
        "",
    ]
    return "\n".join(lines)


def _kind_of_speech(corpora: Mapping[str, Any]) -> str:
    """What is known of how it was spoken; all corpora with a naming are acted."""
    unknown = [name for name in corpora if name not in NAMINGS]
    if not unknown:
        return "All of it is acted speech."
    return f"All of it but {', '.join(unknown)}, recordings of one's own, is acted speech."


def _teacher(training: Mapping[str, Any]) -> list[str]:
    """Who taught the student, where anybody did."""
    teacher, recipe = training.get("teacher"), training.get("recipe")
    if not teacher:
        return []
    weights = {name: weight for name, weight in teacher["weights"].items() if weight}
    lessons = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
    fit = ""
    if recipe:
        how = recipe["fit"]
        muon = f" by Muon at {how['muon_rate']:g}" if how.get("muon_rate") else ""
        fit = f", {how['epochs']} epochs{muon}, seed {how['seed']}"
    return [
        f"Teacher: {teacher['classifier']}; layers {', '.join(map(str, teacher['layers']))} of the "
        f"frozen encoder `{teacher['encoder']}`. Lessons: {lessons}{fit}. Clips of labels that "
        "this pack does not know were heard without their label.",
        "",
    ]


def _accuracy(metrics: Any) -> list[str]:
    cross = metrics.get("cross_validation")
    if not cross:
        return ["No cross-validated figures were given to the converter.", ""]
    lines = [
        f"{cross['protocol']}; {cross['precision']}, final event of each clip.",
        "",
        "| corpus | clips | speakers | UAR | accuracy | macro F1 |",
        "|---|---|---|---|---|---|",
    ]
    for name, f in cross["corpora"].items():
        lines.append(
            f"| {name} | {f['n']} | {f['speakers']} | {f['uar']:.3f} | {f['accuracy']:.3f} "
            f"| {f['macro_f1']:.3f} |"
        )
    return [*lines, ""]


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"
