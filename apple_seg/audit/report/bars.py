"""Bars with their intervals, for what is compared with a line: chance, or nothing."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from apple_seg.audit.report.canvas import CYCLE, DIM, INK, Look, figure, legend, svg, tidy


class Bar(NamedTuple):
    """One bar, with its interval."""

    value: float
    low: float
    high: float


class Reference(NamedTuple):
    """A vertical line."""

    at: float
    label: str


def bars(
    rows: Mapping[str, Mapping[str, Bar]],
    *,
    name: str,
    xlabel: str,
    base: float,
    reference: Reference | None = None,
    looks: Sequence[Look] = CYCLE,
) -> str:
    """Draw bars in rows.

    Args:
        rows: Row to series to bar; NaN is left out.
        name: See `svg`.
        xlabel: What is measured.
        base: Where bars begin: chance, or nothing.
        reference: One more line.
        looks: Of the series, in their order.
    """
    names = list(dict.fromkeys(series for row in rows.values() for series in row))
    shown = {series: looks[nth % len(looks)] for nth, series in enumerate(names)}
    entries = len(names) + bool(reference)
    drawn = figure(4.4, 0.62 + 0.17 * entries + len(rows) * (0.16 * len(names) + 0.14))
    axes, thick = drawn.add_subplot(), 0.8 / len(names)
    for place, row in enumerate(rows.values()):
        for series, bar in row.items():
            if not np.isfinite(bar.value):
                continue
            at, look = place + thick * (names.index(series) - (len(names) - 1) / 2), shown[series]
            axes.barh(
                at,
                bar.value - base,
                thick * 0.9,
                left=base,
                facecolor="white" if look.hatch else look.colour,
                edgecolor=look.colour,
                hatch=look.hatch,
                linewidth=1,
            )
            axes.plot([bar.low, bar.high], [at] * 2, color=INK, linewidth=1.1)
    axes.axvline(base, color=INK, linewidth=1)
    if reference is not None and np.isfinite(reference.at):
        axes.axvline(reference.at, color=DIM, linewidth=1.4, linestyle=(0, (2, 2)))
    axes.set_yticks(range(len(rows)), [textwrap.fill(row, 22) for row in rows])
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlabel(xlabel)
    tidy(axes)
    axes.tick_params(axis="y", length=0)
    legend(drawn, handles=_handles(shown, reference))
    return svg(drawn, name)


def _handles(shown: Mapping[str, Look], reference: Reference | None) -> list[object]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[object] = [
        Patch(
            facecolor="white" if look.hatch else look.colour,
            edgecolor=look.colour,
            hatch=look.hatch,
            label=series,
        )
        for series, look in shown.items()
    ]
    if reference is not None:
        handles.append(Line2D([], [], color=DIM, linestyle=(0, (2, 2)), label=reference.label))
    return handles
