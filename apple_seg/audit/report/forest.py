"""Means, differences and changes with their intervals, one below the other."""

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from apple_seg.audit.inference.intervals import Estimate
from apple_seg.audit.report.canvas import DIM, INK, LOOKS, figure, legend, svg, tidy


class Mark(NamedTuple):
    """One estimate."""

    series: str
    """Key of `LOOKS`."""

    found: Estimate


class Row(NamedTuple):
    """What stands on one line."""

    label: str
    marks: tuple[Mark, ...]


class Guide(NamedTuple):
    """Vertical lines that estimates are held against."""

    label: str
    at: tuple[float, ...]


_WIDTH, _WRAP = 3.9, 20


def forest(
    rows: Sequence[Row],
    *,
    name: str,
    xlabel: str,
    zero: bool = False,
    guide: Guide | None = None,
) -> str:
    """Draw estimates as points with their intervals.

    Args:
        rows: From the top to the bottom; each has the same series.
        name: See `svg`.
        xlabel: What is measured.
        zero: Whether a line stands at 0.
        guide: Other lines.
    """
    names = list(dict.fromkeys(mark.series for row in rows for mark in row.marks))
    labels = [textwrap.fill(row.label, _WRAP) for row in rows]
    entries = len(names) * (len(names) > 1) + bool(guide)
    lines = sum(
        max(0.17 * len(names) + 0.15, 0.16 * (1 + label.count("\n")) + 0.1) for label in labels
    )
    drawn = figure(_WIDTH, 0.62 + 0.17 * entries + max(lines, 0.5))
    axes = drawn.add_subplot()
    if zero:
        axes.axvline(0, color=INK, linewidth=1, zorder=1)
    for at in guide.at if guide else ():
        axes.axvline(at, color=DIM, linewidth=1.2, linestyle=(0, (2, 2)), zorder=1)
    for place, row in enumerate(rows):
        for nth, mark in enumerate(row.marks):
            _mark(axes, mark, place + 0.36 * (nth - (len(row.marks) - 1) / 2))
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlabel(xlabel)
    axes.margins(x=0.08)
    axes.locator_params(axis="x", nbins=4)
    tidy(axes)
    axes.tick_params(axis="y", length=0)
    if entries:
        legend(drawn, handles=_handles(names if len(names) > 1 else [], guide))
    return svg(drawn, name)


def _mark(axes: Any, mark: Mark, height: float) -> None:
    found, look = mark.found, LOOKS[mark.series]
    if not np.isfinite(found.value):
        return
    if found.known:
        axes.plot(
            [found.low, found.high], [height] * 2, look.dashes, color=look.colour, linewidth=1.8
        )
    axes.plot(found.value, height, look.marker, color=look.colour, markersize=6)


def _handles(names: Sequence[str], guide: Guide | None) -> list[Any]:
    from matplotlib.lines import Line2D

    dashed: Any = {name: LOOKS[name].dashes for name in names}
    handles = [
        Line2D(
            [],
            [],
            color=LOOKS[name].colour,
            marker=LOOKS[name].marker,
            linestyle=dashed[name],
            label=name,
        )
        for name in names
    ]
    if guide:
        handles.append(Line2D([], [], color=DIM, linestyle=(0, (2, 2)), label=guide.label))
    return handles
