"""The Pareto picture: worst-group Dice against difference, coloured by overall Dice."""

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from apple_seg.audit.report.canvas import DIM, INK, LOOKS, figure, legend, svg, tidy
from apple_seg.perturb import Candidate
from apple_seg.workflow.sweep.choice import Ranked, Sweep

TITLE = "Worst-group Dice against difference, on validation"

_MEAN, _SEED, _HOST, _RING = 8.0, 4.0, 9.0, 17.0
"""Sizes of markers, in points."""

_FONT, _DIGIT = 8.0, 5.0
"""Height of a number beside a marker, and width of its digits, in points."""

_COLOURS = "cividis"
"""Told apart by the colour-blind, and in grey."""


class _Box(NamedTuple):
    """What is covered, in points: its middle, and its size."""

    x: float
    y: float
    width: float
    height: float

    def meets(self, other: "_Box") -> bool:
        """Say whether both cover a place."""
        return (
            2 * abs(self.x - other.x) < self.width + other.width
            and 2 * abs(self.y - other.y) < self.height + other.height
        )


def pareto(sweep: Sweep) -> str:
    """Draw every combination: seeds small, means large and numbered by their place.

    Up and to the left is better; the line is the front that no other combination passes.
    """
    numbered = [(place, one) for place, one in enumerate(sweep.ranking, 1) if one.tried is not None]
    drawn = figure(6.8, 5.0)
    axes = drawn.add_subplot()
    painted = _painted([one.mean for one in sweep.ranking])
    for _, one in numbered:
        _seeds(axes, one, painted)
    _front(axes, [one.mean for one in sweep.ranking if one.front])
    for _, one in reversed(numbered):
        axes.scatter(*_at(one.mean), s=_MEAN**2, c=[one.mean.overall], zorder=4, **painted)
    axes.plot(*_at(sweep.host), zorder=5, **_HOST_LOOK)
    axes.plot(*_at(sweep.ranking[0].mean), zorder=3, **_RING_LOOK)
    axes.set_xlabel("difference: best minus worst group mean (further left is better)")
    axes.set_ylabel("worst-group Dice (higher is better)")
    axes.margins(0.1)
    axes.locator_params(nbins=6)
    tidy(axes, grid="both")
    _bar(drawn, axes, painted)
    legend(drawn, handles=_handles(), ncols=3, columnspacing=1.4)
    _numbers(drawn, axes, numbered, sweep)
    return _titled(svg(drawn, "sweep"), alt(sweep))


def alt(sweep: Sweep) -> str:
    """Say what the picture shows, with its numbers."""
    points = "; ".join(_figures(one.label, one.mean) for one in sweep.ranking if one.front)
    return (
        f"{len(sweep.finished)} combinations, their means over {len(sweep.plan.seeds)} seeds, and "
        f"the host. {_figures('The host as deployed', sweep.host)}. Chosen is "
        f"{sweep.ranking[0].label}. On the Pareto front: {points}."
    )


_HOST_LOOK: dict[str, Any] = {
    **{"marker": "D", "markersize": _HOST, "color": LOOKS["host"].colour, "linestyle": ""},
    **{"markeredgecolor": INK, "markeredgewidth": 0.8},
}
_RING_LOOK: dict[str, Any] = {
    **{"marker": "o", "markersize": _RING, "markerfacecolor": "none", "linestyle": ""},
    **{"markeredgecolor": INK, "markeredgewidth": 1.8},
}
_FRONT_LOOK: dict[str, Any] = {"color": DIM, "linewidth": 1.3, "linestyle": (0, (4, 2))}
_GREY = "#a9a9a9"


def _figures(label: str, mean: Candidate) -> str:
    return (
        f"{label}: worst group {mean.group_min:.4f}, difference {mean.difference:.4f}, overall "
        f"{mean.overall:.4f}"
    )


def _at(candidate: Candidate) -> tuple[float, float]:
    return candidate.difference, candidate.group_min


def _painted(means: Sequence[Candidate]) -> dict[str, Any]:
    """Return how overall Dice becomes a colour, as `scatter` takes it."""
    from matplotlib.colors import Normalize

    shown = [one.overall for one in means]
    pad = max(0.0, 1e-3 - (max(shown) - min(shown))) / 2
    norm = Normalize(min(shown) - pad, max(shown) + pad, clip=True)
    return {"cmap": _COLOURS, "norm": norm, "edgecolors": INK, "linewidths": 0.8}


def _seeds(axes: Any, one: Ranked, painted: dict[str, Any]) -> None:
    """Draw each seed, tied to the mean."""
    for fit in one.tried.fits if one.tried else ():
        ends = zip(_at(one.mean), _at(fit.selected), strict=True)
        axes.plot(*map(list, ends), color=_GREY, linewidth=0.7, zorder=1)
        look = {**painted, "linewidths": 0.3}
        axes.scatter(*_at(fit.selected), s=_SEED**2, c=[fit.selected.overall], zorder=2, **look)


def _front(axes: Any, means: Sequence[Candidate]) -> None:
    """Draw the steps that bound what was reached."""
    x, y = zip(*sorted(map(_at, means)), strict=True)
    axes.plot(x, y, drawstyle="steps-post", zorder=2, **_FRONT_LOOK)


def _bar(drawn: Any, axes: Any, painted: dict[str, Any]) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import MaxNLocator

    colours = ScalarMappable(norm=painted["norm"], cmap=painted["cmap"])
    ticks = MaxNLocator(nbins=6)
    bar = drawn.colorbar(colours, ax=axes, fraction=0.04, pad=0.02, ticks=ticks)
    bar.set_label("overall Dice", size=9, color=INK)
    bar.ax.tick_params(colors=DIM, labelcolor=INK, labelsize=9, length=3)
    bar.outline.set_visible(False)


def _handles() -> list[Any]:
    from matplotlib.lines import Line2D

    dot: dict[str, Any] = {
        "marker": "o",
        "linestyle": "",
        "color": "#7c7b78",
        "markeredgecolor": INK,
    }
    return [
        Line2D([], [], markersize=_MEAN, label="mean over seeds", **dot),
        Line2D([], [], markersize=_SEED, label="one seed", **{**dot, "markeredgewidth": 0.3}),
        Line2D([], [], label="host as deployed", **_HOST_LOOK),
        Line2D([], [], label="chosen", **{**_RING_LOOK, "markersize": 12}),
        Line2D([], [], label="Pareto front", **_FRONT_LOOK),
    ]


def _numbers(drawn: Any, axes: Any, numbered: Sequence[tuple[int, Ranked]], sweep: Sweep) -> None:
    """Write each mean's place beside it, where it covers no other; the front's and the best first.

    Where there is no room, the number is left out, and the table has it.
    """
    drawn.draw_without_rendering()  # places are known once axes have theirs

    def box(candidate: Candidate, size: float) -> _Box:
        x, y = axes.transData.transform(_at(candidate)) * 72 / drawn.dpi
        return _Box(float(x), float(y), size, size)

    covered = [box(one.mean, _MEAN) for _, one in numbered]
    covered += [box(sweep.host, _HOST), box(sweep.ranking[0].mean, _RING)]
    seeds = [box(fit.selected, _SEED) for one in sweep.finished for fit in one.fits]
    for place, one in sorted(numbered, key=lambda each: (not each[1].front, each[0])):
        middle = box(one.mean, 0)
        width = _DIGIT * len(str(place))
        free = [
            each
            for each in _around(middle, width, _FONT)
            if not any(each.meets(other) for other in covered)
        ]
        if not free:
            continue
        best = min(free, key=lambda each: sum(each.meets(other) for other in seeds))
        covered.append(best)
        offset = best.x - middle.x, best.y - middle.y - _FONT / 10
        _number(axes, place, one, offset)


def _number(axes: Any, place: int, one: Ranked, offset: tuple[float, float]) -> None:
    axes.annotate(
        str(place),
        _at(one.mean),
        offset,
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=_FONT,
        color=INK,
        fontweight="bold" if one.front else "normal",
        bbox={"boxstyle": "square,pad=0.05", "facecolor": "white", "linewidth": 0, "alpha": 0.75},
        zorder=6,
    )


def _around(middle: _Box, width: float, height: float) -> list[_Box]:
    """Return where a number may stand: close to the marker, then further away."""
    sides = ((1, 0), (0, 1), (1, 1), (0, -1), (-1, 0), (1, -1), (-1, 1), (-1, -1))
    return [
        _Box(
            middle.x + right * (away + width / 2),
            middle.y + up * (away + height / 2),
            width,
            height,
        )
        for away in (_MEAN / 2 + 1.5, _RING / 2 + 1, _RING * 0.8)
        for right, up in sides
    ]


def _titled(drawn: str, said: str) -> str:
    """Give the drawing a title and a description of its own, for whoever takes it out."""
    start = drawn.index(">") + 1
    told = f"<title>{escape(TITLE)}</title><desc>{escape(said)}</desc>"
    return drawn[:start] + told + drawn[start:]
