"""Figures: words of points that lie close do not cover each other."""

from __future__ import annotations

import re
from itertools import pairwise

from edge_ser.pages.svg import Axis, Plot


def lines_of(svg: str, words: str) -> list[float]:
    return [float(y) for y in re.findall(rf'y="([\d.]+)" text-anchor="\w+">{words}', svg)]


def test_words_of_close_points_stand_on_lines_of_their_own() -> None:
    plot = Plot(Axis(0.0, 100.0, "x"), Axis(0.0, 1.0, "y"))
    for y in (0.5, 0.5, 0.51):
        plot.text(40.0, y, "some words")
    plot.text(90.0, 0.5, "others")
    svg = plot.svg("figure", "title", "description")
    lines = sorted(lines_of(svg, "some words"))
    assert len(lines) == 3
    assert all(b - a >= 13.9 for a, b in pairwise(lines))
    assert abs(lines_of(svg, "others")[0] - lines[1]) < 14  # nothing in their way
