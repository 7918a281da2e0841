"""The parts of a self-contained page: its style, sections, figures and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["STYLE", "figure", "section", "table"]

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff;
  max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; }
p { margin: .4rem 0; }
.tiles { display: flex; flex-wrap: wrap; gap: .6rem; padding: 0; margin: 1.2rem 0;
  list-style: none; }
.tiles li { flex: 1 1 9rem; border: 1px solid #bbb; border-radius: 6px; padding: .5rem .8rem; }
.tiles strong { display: block; font-size: 1.5rem; }
.tiles span { font-size: .88rem; color: #444; }
.warning { border-left: 5px solid #a33; padding: .2rem .8rem; }
figure { margin: 0; } svg { width: 100%; height: auto; display: block; }
figcaption { font-size: .9rem; color: #333; }
table { border-collapse: collapse; margin: .6rem 0; font-size: .92rem; }
caption { text-align: left; color: #333; }
th, td { text-align: right; padding: .15rem .9rem .15rem 0; border-bottom: 1px solid #ddd;
  vertical-align: top; }
th:first-child, td:first-child, table.facts td { text-align: left; }
td { font-variant-numeric: tabular-nums; overflow-wrap: break-word; }
.bar { fill: #2b6cb0; } .pale { fill: #b9d3ec; } .dot { fill: #b1480e; }
.hollow { fill: #fff; stroke: #b1480e; stroke-width: 2; }
.line { fill: none; stroke: #17406d; stroke-width: 1.6; }
.axis { stroke: #333; } .grid { stroke: #e4e4e4; }
.mark { fill: none; stroke: #b1480e; stroke-width: 1.3; }
.limit { stroke: #b1480e; stroke-width: 1.5; stroke-dasharray: 6 4; }
.tick { font-size: 12px; fill: #333; } .label { font-size: 12px; fill: #111;
  paint-order: stroke; stroke: #fff; stroke-width: 3px; }
.title { font-size: 12.5px; fill: #111; }
details pre { font-size: .78rem; overflow-x: auto; white-space: pre-wrap; }
@media print { body { margin: 0; max-width: none; font-size: 10.5pt; }
  section, figure, table { break-inside: avoid; } details { display: none; }
  .bar, .pale, .dot { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def section(title: str, *parts: str) -> str:
    """A part of the page under its own heading."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def figure(svg: str, caption: str) -> str:
    """A figure with words below."""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "numbers"
) -> str:
    """A table whose first column heads its rows.

    Args:
        head: of the columns; empty for none.
        kind: CSS class, ``numbers`` or ``facts``.
    """
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    first = f"<thead><tr>{top}</tr></thead>" if head else ""
    return (
        f'<table class="{kind}"><caption>{escape(caption)}</caption>{first}'
        f"<tbody>{body}</tbody></table>"
    )
