"""What means hide: every case as a point, by group, and before against after."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apple_seg.audit.report.canvas import DIM, INK, LOOKS, figure, svg, tidy

Floats = NDArray[np.float64]

_POINTS = 1500
"""Drawn a group; more only make the file larger."""


def distributions(cases: Mapping[str, Mapping[str, Floats]], *, name: str, xlabel: str) -> str:
    """Draw boxes over the cases themselves.

    Args:
        cases: Group to series (a key of `LOOKS`) to scores (n,).
        name: See `svg`.
        xlabel: What is measured.
    """
    rows = [
        (group, series, scores) for group, some in cases.items() for series, scores in some.items()
    ]
    drawn = figure(4.8, 0.6 + 0.42 * len(rows))
    axes, rng = drawn.add_subplot(), np.random.default_rng(0)
    for place, (_, series, scores) in enumerate(rows):
        some = scores[rng.permutation(len(scores))[:_POINTS]]
        height = place + rng.uniform(-0.3, 0.3, len(some))
        axes.plot(
            some,
            height,
            ".",
            color=LOOKS[series].colour,
            markersize=2.4,
            alpha=0.35,
            markeredgewidth=0,
            zorder=1,
            rasterized=True,
        )
        if len(scores):
            _box(axes, scores, place)
    many = any(len(some) > 1 for some in cases.values())
    ticks = [f"{group}, {series}" if many else group for group, series, _ in rows]
    axes.set_yticks(range(len(rows)), [textwrap.fill(tick, 20) for tick in ticks])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(xlabel)
    axes.set_xlim(-0.02, 1.02)
    tidy(axes)
    axes.tick_params(axis="y", length=0)
    return svg(drawn, name)


def before_after(before: Floats, after: Floats, *, margin: float, name: str, title: str) -> str:
    """Draw each case's score under both hosts; between the dashed lines it moved by less.

    Args:
        before: (n,) under the host.
        after: (n,) with the perturber.
        margin: What a case may move by to be counted as unmoved.
        name: See `svg`.
        title: The group.
    """
    drawn = figure(2.7, 2.9)
    axes = drawn.add_subplot()
    change = after - before
    places = {
        "lost": change < -margin,
        "gained": change > margin,
        "unmoved": np.abs(change) <= margin,
    }
    looks = {"lost": LOOKS["host"], "gained": LOOKS["perturbed"], "unmoved": None}
    for kind, look in looks.items():
        at = places[kind]
        axes.plot(
            before[at],
            after[at],
            "." if look is None else look.marker,
            color=DIM if look is None else look.colour,
            markersize=2.5 if look is None else 3,
            markeredgewidth=0,
            alpha=0.5,
            rasterized=True,
        )
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8)
    axes.set(xlabel="host", ylabel="perturbed", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axes.set_aspect("equal")
    axes.set_title(textwrap.fill(title, 28), fontsize=9)
    axes.set_xticks([0, 0.5, 1])
    axes.set_yticks([0, 0.5, 1])
    tidy(axes, grid="both")
    return svg(drawn, name)


def _box(axes: Any, scores: Floats, height: float) -> None:
    axes.boxplot(
        [scores],
        positions=[height],
        orientation="horizontal",
        widths=0.5,
        showfliers=False,
        showmeans=True,
        manage_ticks=False,
        zorder=3,
        boxprops={"linewidth": 1.1},
        medianprops={"color": INK, "linewidth": 2},
        meanprops={
            "marker": "D",
            "markerfacecolor": INK,
            "markeredgecolor": "white",
            "markersize": 5,
        },
    )
