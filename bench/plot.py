"""Curves as an SVG image, on logarithmic axes: twice as much is everywhere as far."""

from __future__ import annotations

import math
from html import escape

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 20, 40, 44
COLOURS = {"ours": "#c0392b", "runc": "#2471a3", "crun": "#229954", "python": "#7d6608"}
OTHER = "#566573"

# Runtime -> (amount, value) in the order of the amounts.
Curves = dict[str, list[tuple[float, float]]]


class Chart:
    """One picture: `title`, what grows (`across`), the unit of the values, and the curves."""

    def __init__(self, title: str, across: str, unit: str, curves: Curves) -> None:
        self.title = title
        self.across = across
        self.unit = unit
        self.curves = {name: points for name, points in curves.items() if points}


class Axis:
    """From values to places: `low` at `begin`, `high` at `end`."""

    def __init__(self, values: list[float], begin: float, end: float) -> None:
        self.low = math.log10(min(values)) - 0.08
        self.high = math.log10(max(values)) + 0.08
        self.begin = begin
        self.end = end

    def place(self, value: float) -> float:
        """Where a value is."""
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return self.begin + part * (self.end - self.begin)

    def marks(self) -> list[float]:
        """1, 2 and 5 times each power of ten that lies within."""
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        values = [step * 10.0**power for power in powers for step in (1, 2, 5)]
        return [value for value in values if self.low <= math.log10(value) <= self.high]


def page(charts: list[Chart]) -> str:
    """All charts in one image, two beside each other."""
    rows = (len(charts) + 1) // 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" height="{rows * HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{2 * WIDTH}" height="{rows * HEIGHT}" fill="white"/>',
    ]
    for number, chart in enumerate(charts):
        place = f"translate({number % 2 * WIDTH},{number // 2 * HEIGHT})"
        parts += [f'<g transform="{place}">', *_draw(chart), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _draw(chart: Chart) -> list[str]:
    points = [point for curve in chart.curves.values() for point in curve]
    across = Axis([x for x, _ in points], LEFT, WIDTH - RIGHT)
    upward = Axis([y for _, y in points], HEIGHT - BOTTOM, TOP)
    parts = [_text(LEFT, 18, chart.title, "start", 13), *_grid(across, upward)]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, chart.across, "middle"))
    parts.append(_text(8, TOP - 8, chart.unit, "start"))
    for number, (name, curve) in enumerate(chart.curves.items()):
        colour = COLOURS.get(name, OTHER)
        places = [(across.place(x), upward.place(y)) for x, y in curve]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(_text(WIDTH - RIGHT - 46 * number, 18, name, "end", 11, colour))
    return parts


def _grid(across: Axis, upward: Axis) -> list[str]:
    parts = []
    for value in across.marks():
        x = across.place(value)
        parts.append(_line(x, TOP, x, HEIGHT - BOTTOM))
        parts.append(_text(x, HEIGHT - BOTTOM + 16, f"{value:g}", "middle"))
    for value in upward.marks():
        y = upward.place(value)
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y))
        parts.append(_text(LEFT - 6, y + 4, f"{value:g}", "end"))
    return parts


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:.1f},{y1:.1f}L{x2:.1f},{y2:.1f}" stroke="#dddddd"/>'


def _text(
    x: float, y: float, text: str, anchor: str, size: int = 11, colour: str = "#222222"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{colour}">{escape(text)}</text>'
    )
