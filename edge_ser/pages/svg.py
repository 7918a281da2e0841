"""Just enough SVG for figures of reports: a plot with two axes, and marks in its units.

Chart libraries were looked at; the small ones load scripts from elsewhere or give no say in
what a screen reader hears.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

__all__ = ["Axis", "Plot", "nice_ticks"]

WIDTH, HEIGHT = 720, 260
_RIGHT, _TOP, _BOTTOM = 18, 26, 44
_NUMBERS = 66  # room left of a plot for its scale
_LETTER, _LINE = 7, 14  # about the size of the words


class Axis:
    """Maps values to positions.

    Args:
        low, high: values at its ends.
        title: what it shows, with the unit.
        log: logarithmic; both ends must be above 0.
        ticks: values to write, chosen if not given.
    """

    def __init__(
        self,
        low: float,
        high: float,
        title: str,
        *,
        log: bool = False,
        ticks: Sequence[float] | None = None,
    ) -> None:
        if not low < high or (log and low <= 0):
            raise ValueError(f"axis {title!r} needs low < high, above 0 if log; got {low}, {high}")
        self.low, self.high, self.title, self.log = low, high, title, log
        self.ticks = list(nice_ticks(low, high, log) if ticks is None else ticks)

    def share(self, value: float) -> float:
        """Position of ``value`` along the axis, 0 to 1, kept within."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def nice_ticks(low: float, high: float, log: bool) -> list[float]:
    """A few round values from ``low`` to ``high``."""
    if log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        steps = (1, 2, 5) if len(decades) <= 3 else (1,)
        return [s * 10.0**d for d in decades for s in steps if low <= s * 10.0**d <= high]
    rough = (high - low) / 6
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(s * unit for s in (1, 2, 5, 10) if s * unit >= rough)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


class Plot:
    """Collects marks; :meth:`svg` gives the figure.

    Args:
        height: of the figure.
        y_names: words instead of the numbers on the y axis.
    """

    def __init__(self, x: Axis, y: Axis, height: int = HEIGHT, y_names: Sequence[str] = ()) -> None:
        self._x, self._y, self._height, self._y_names = x, y, height, y_names
        self._left = max([_NUMBERS, *(_LETTER * len(name) + 12 for name in y_names)])
        self._marks: list[str] = []
        self._words: list[tuple[float, float, float]] = []  # begin, end and line of each

    def bar(self, x0: float, x1: float, y: float, kind: str = "bar", y0: float = 0.0) -> None:
        """A filled box from ``y0`` to ``y``."""
        left, right = self._px(x0), self._px(x1)
        top, bottom = self._py(y), self._py(y0)
        self._marks.append(
            f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}" '
            f'width="{max(right - left, 0.5):.1f}" height="{max(bottom - top, 0):.1f}"/>'
        )

    def line(self, points: Sequence[tuple[float, float]], kind: str = "line") -> None:
        """A line through ``points``."""
        path = " ".join(f"{self._px(x):.1f},{self._py(y):.1f}" for x, y in points)
        self._marks.append(f'<polyline class="{kind}" points="{path}"/>')

    def dot(self, x: float, y: float, kind: str = "dot") -> None:
        """A dot."""
        at = f'cx="{self._px(x):.1f}" cy="{self._py(y):.1f}"'
        self._marks.append(f'<circle class="{kind}" {at} r="4"/>')

    def upright(self, x: float, label: str, row: int = 0) -> None:
        """A line over the whole height with a label above the plot or a row lower."""
        at = self._px(x)
        near_end = at + 4 + _LETTER * len(label) > WIDTH
        shift, anchor = (-4, "end") if near_end else (4, "start")
        self._marks.append(
            f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP - 12 + 13 * row}" '
            f'y2="{self._height - _BOTTOM}"/>'
            f'<text class="label" x="{at + shift:.1f}" y="{_TOP - 4 + 13 * row}" '
            f'text-anchor="{anchor}">{escape(label)}</text>'
        )

    def level(self, y: float, label: str) -> None:
        """A line over the whole width with a label at its right end."""
        at = self._py(y)
        self._marks.append(
            f'<line class="limit" x1="{self._left}" x2="{WIDTH - _RIGHT}" y1="{at:.1f}" '
            f'y2="{at:.1f}"/>'
            f'<text class="label" x="{WIDTH - _RIGHT}" y="{at - 5:.1f}" '
            f'text-anchor="end">{escape(label)}</text>'
        )

    def text(self, x: float, y: float, words: str, dx: int = 4) -> None:
        """Words beside a point, to its right if they fit there, on no others' line."""
        at, width = self._px(x), _LETTER * len(words)
        fits = at + dx + width < WIDTH
        shift, anchor = (dx, "start") if fits else (-dx, "end")
        begin = at + shift - (0 if fits else width)
        line = self._free_line(begin, begin + width, self._py(y) + 4)
        self._marks.append(
            f'<text class="label" x="{at + shift:.1f}" y="{line:.1f}" '
            f'text-anchor="{anchor}">{escape(words)}</text>'
        )

    def _free_line(self, begin: float, end: float, wanted: float) -> float:
        """The line nearest to ``wanted`` on which no other words stand, which is then taken."""
        ways = (0, *(sign * step for step in range(1, 5) for sign in (-1, 1)))
        for way in ways:
            line = wanted + way * _LINE / 2
            taken = any(
                begin < other_end and other_begin < end and abs(line - other) < _LINE
                for other_begin, other_end, other in self._words
            )
            if not taken:
                break
        else:
            line = wanted
        self._words.append((begin, end, line))
        return line

    def svg(self, name: str, title: str, description: str) -> str:
        """The figure.

        Args:
            name: unique id in the page.
            title: what it is.
            description: what it shows, in a sentence or two, for who cannot see it.
        """
        return (
            f'<svg viewBox="0 0 {WIDTH} {self._height}" role="img" '
            f'aria-labelledby="{name}-title {name}-text">'
            f'<title id="{name}-title">{escape(title)}</title>'
            f'<desc id="{name}-text">{escape(description)}</desc>'
            f"{self._frame()}{''.join(self._marks)}</svg>"
        )

    def _frame(self) -> str:
        y_names = self._y_names
        bottom, right = self._height - _BOTTOM, WIDTH - _RIGHT
        parts = [f'<line class="axis" x1="{self._left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>']
        for tick in self._x.ticks:
            at = self._px(tick)
            parts.append(
                f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{bottom}" y2="{bottom + 4}"/>'
                f'<text class="tick" x="{at:.1f}" y="{bottom + 17}" '
                f'text-anchor="middle">{tick:g}</text>'
            )
        for index, tick in enumerate(self._y.ticks):
            at = self._py(tick)
            words = escape(y_names[index]) if y_names else f"{tick:g}"
            across = f'x1="{self._left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"'
            grid = "" if y_names else f'<line class="grid" {across}/>'
            parts.append(
                f'{grid}<text class="tick" x="{self._left - 7}" y="{at + 4:.1f}" '
                f'text-anchor="end">{words}</text>'
            )
        middle = (self._left + right) / 2
        parts.append(
            f'<text class="title" x="{middle:.0f}" y="{self._height - 6}" '
            f'text-anchor="middle">{escape(self._x.title)}</text>'
        )
        if self._y.title:
            parts.append(
                f'<text class="title" x="14" y="{bottom / 2 + _TOP / 2:.0f}" text-anchor="middle" '
                f'transform="rotate(-90 14 {bottom / 2 + _TOP / 2:.0f})">'
                f"{escape(self._y.title)}</text>"
            )
        return "".join(parts)

    def _px(self, value: float) -> float:
        return self._left + self._x.share(value) * (WIDTH - self._left - _RIGHT)

    def _py(self, value: float) -> float:
        return self._height - _BOTTOM - self._y.share(value) * (self._height - _BOTTOM - _TOP)
