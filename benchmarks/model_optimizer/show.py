"""The comparison as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.model_optimizer.compare import Row

__all__ = ["failures", "placements", "table"]

_HEAD = (
    "| form | same label | UAR | mean error | worst error | layers (INT8) | fused attentions "
    "| products in INT8 | share | engine | ONNX | TensorRT |"
)


def table(rows: Sequence[Row]) -> str:
    """A row for every form."""
    lines = [_HEAD, "|---" * (_HEAD.count("|") - 1) + "|"]
    for row in rows:
        found, report = row.parity, row.engine.report
        if report is None:
            engine = ["does not build", "", "", "", ""]
        else:
            engine = [
                f"{report.layers} ({report.precisions['int8']})",
                f"{report.fused_attention}",
                f"{report.products['int8']} of {sum(report.products.values())}",
                f"{100 * report.int8_share:.1f} %",
                f"{row.engine.bytes / 1000:.0f} kB",
            ]
        change = "" if found.uar_change is None else f"{100 * found.uar_change:+.1f}"
        cells = [
            row.name,
            f"{100 * found.agreement:.1f} %",
            change,
            f"{found.mean_score_error:.4f}",
            f"{found.worst_score_error:.3f}",
            *engine,
            f"{row.bytes / 1000:.0f} kB",
            f"{row.oldest} and later" if row.oldest else "none",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def placements(rows: Sequence[Row]) -> str:
    """What each form quantizes; forms that agree in it stand together."""
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for row in rows:
        groups.setdefault((row.placement.left, row.placement.others), []).append(row.name)
    lines = []
    for (left, others), names in groups.items():
        lines.append(
            f"- {'; '.join(names)}: products left in float: {', '.join(left) or 'none'}; "
            f"other nodes behind a Q/DQ pair: {', '.join(others) or 'none'}"
        )
    return "\n".join(lines) + "\n"


def failures(rows: Sequence[Row], unmade: Mapping[str, str]) -> str:
    """A line for each form that could not be made, by name, and for each engine; or nothing."""
    lines = [f"- {name} was not made: {error}" for name, error in unmade.items()]
    lines += [f"- {row.name}: {row.engine.error}" for row in rows if row.engine.error]
    return "\n".join(lines) + "\n" if lines else ""
