"""Medians, the table, and the lines at its end that a program can read.

A ratio, `ratio NAME PEER VALUE`, is ours / theirs of the medians: below 1 is better than theirs.
A target, `target NAME VALUE LIMIT ok|missed`, has been reached when VALUE is at most LIMIT.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

OURS = "ours"

# What the project wants of itself: name of the figure, peer, greatest ratio.
# An empty peer makes the limit absolute, in the unit of the figure.
TARGETS: list[tuple[str, str, float]] = [
    ("lifecycle.wall", "runc", 1.0),
    ("lifecycle.cpu", "runc", 1.0),
    ("create.wall", "runc", 1.0),
    ("run.wall", "runc", 1.0),
    ("lifecycle.wall", "crun", 1.0),
    ("create.wall", "crun", 1.2),
    ("run.wall", "crun", 1.2),
    ("start.wall", "crun", 0.5),
    ("state.wall", "crun", 0.5),
    ("kill.wall", "crun", 0.5),
    ("delete.wall", "crun", 0.5),
    ("exec.wall", "runc", 0.6),
    ("exec.wall", "crun", 1.6),
    ("exec.process.wall", "runc", 0.6),
    ("exec.process.wall", "crun", 1.6),
    ("memory.created", "crun", 1.0),
    ("memory.limit", "crun", 1.0),
    ("memory.limit", "runc", 0.25),
    ("list.wall", "runc", 1.0),
]


class Figures:
    """Samples by figure and runtime; all samples of one figure have the same unit."""

    def __init__(self) -> None:
        self._samples: dict[str, dict[str, list[float]]] = {}

    def add(self, figure: str, runtime: str, value: float) -> None:
        """Record one sample."""
        self._samples.setdefault(figure, {}).setdefault(runtime, []).append(value)

    def names(self) -> list[str]:
        """Return the figures in the order in which they first came."""
        return list(self._samples)

    def runtimes(self) -> list[str]:
        """Return every runtime that has a sample, in the order in which they first came."""
        return list(dict.fromkeys(name for row in self._samples.values() for name in row))

    def median(self, figure: str, runtime: str) -> float | None:
        """Return the median of the samples, or None where there are none."""
        samples = self._samples.get(figure, {}).get(runtime)
        return statistics.median(samples) if samples else None

    def least(self, figure: str, runtime: str) -> float | None:
        """Return the least sample, or None where there are none."""
        return min(self._samples.get(figure, {}).get(runtime, []), default=None)

    def ratio(self, figure: str, peer: str) -> float | None:
        """Return ours / theirs of the medians, or None where one is missing or theirs is 0."""
        ours, theirs = self.median(figure, OURS), self.median(figure, peer)
        return ours / theirs if ours is not None and theirs else None


def table(figures: Figures) -> list[str]:
    """Return one line per figure: median and least value for each runtime."""
    names = figures.runtimes()
    lines = ["figure".ljust(24) + "".join(f"{name + ' med / min':>24}" for name in names)]
    for figure in figures.names():
        cells = [(figures.median(figure, name), figures.least(figure, name)) for name in names]
        texts = ["-" if a is None else f"{a:.1f} / {b:.1f}" for a, b in cells]
        lines.append(figure.ljust(24) + "".join(f"{text:>24}" for text in texts))
    return lines


def ratios(figures: Figures) -> list[str]:
    """Return the `ratio` lines."""
    lines = []
    for figure in figures.names():
        for peer in figures.runtimes():
            value = figures.ratio(figure, peer)
            if peer != OURS and value is not None:
                lines.append(f"ratio {figure} {peer} {value:.3f}")
    return lines


def targets(figures: Figures, wanted: list[tuple[str, str, float]] = TARGETS) -> list[str]:
    """Return the `target` lines of those targets that this run has measured."""
    lines = []
    for figure, peer, limit in wanted:
        value = figures.ratio(figure, peer) if peer else figures.median(figure, OURS)
        if value is not None:
            name = f"{figure}/{peer}" if peer else figure
            verdict = "ok" if value <= limit else "missed"
            lines.append(f"target {name} {value:.3f} {limit:g} {verdict}")
    return lines


def report(figures: Figures, show: Callable[[str], None] = print) -> None:
    """Print the table and, at the end, the ratios and the targets."""
    for line in [*table(figures), "", *ratios(figures), *targets(figures)]:
        show(line)
