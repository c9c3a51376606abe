"""The ladder as a picture: worst-group Dice against difference, a panel a cell."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Literal

from apple_seg.audit.report.canvas import DIM, INK, LOOKS, figure, svg, tidy
from benchmarks.ladder.rungs import CONTROL, DEFAULT, RUNGS
from benchmarks.ladder.tables import Result, gap, title, worst

_COLUMNS = 2
_MARKER = 13.0
_FONT = 8.0


def pareto(cells: Sequence[Sequence[Result]]) -> str:
    """Draw every rung's mean over seeds with its number; up and to the left is better.

    Args:
        cells: The results of one host, a list a scenario and number of cases.
    """
    rows = -(-len(cells) // _COLUMNS)
    drawn = figure(4.2 * _COLUMNS, 3.4 * rows + 0.9)
    grid = drawn.subplots(rows, _COLUMNS, squeeze=False)
    for axes in grid.flat[len(cells) :]:
        axes.set_visible(False)
    places = _places(cells)
    for axes, results in zip(grid.flat, cells, strict=False):
        _panel(axes, results, places)
    drawn.supxlabel(
        "difference between the groups' mean Dice (up and to the left is better)", size=9
    )
    drawn.supylabel("worst-group Dice", size=9)
    numbers = [f"{place} {name}" for name, place in places.items()]
    drawn.legend(
        handles=[_handle(text) for text in ["◆ identity: the host as deployed", *numbers]],
        loc="outside upper left",
        frameon=False,
        fontsize=_FONT,
        ncols=4,
        handlelength=0,
        handletextpad=0,
    )
    return svg(drawn, "ladder")


def digest(cells: Sequence[Sequence[Result]]) -> str:
    """Return a digest of the numbers that the picture shows, and of what it calls the rungs."""
    shown = [
        (title(one), one["rung"], *(_point(one, who) for who in ("host", "perturbed")))
        for results in cells
        for one in results
    ]
    return sha256(repr((shown, _places(cells))).encode()).hexdigest()[:16]


def _places(cells: Sequence[Sequence[Result]]) -> dict[str, int]:
    """Number the rungs that a cell has, as they are declared."""
    drawn = {one["rung"] for results in cells for one in results}
    return {name: place for place, name in enumerate((one for one in RUNGS if one in drawn), 1)}


def _panel(axes: Any, results: Sequence[Result], places: Mapping[str, int]) -> None:
    host = _point(results[0], "host")
    axes.axvline(host[0], color=DIM, linewidth=0.6, linestyle=":")
    axes.axhline(host[1], color=DIM, linewidth=0.6, linestyle=":")
    axes.plot(*host, marker="D", color=LOOKS["host"].colour, markeredgecolor=INK, zorder=5)
    for one in sorted(results, key=lambda one: one["rung"] == DEFAULT):  # the default on top
        _number(axes, one["rung"], places.get(one["rung"]), _point(one, "perturbed"))
    axes.set_title(title(results[0]).partition(", ")[2], size=9, color=INK)
    axes.margins(0.12)
    axes.locator_params(nbins=5)
    tidy(axes, grid="both")


def _number(axes: Any, name: str, place: int | None, at: tuple[float, float]) -> None:
    """Draw a rung as its number in a disc: the default and the control filled."""
    fill = {CONTROL: "#f0e442", DEFAULT: LOOKS["perturbed"].colour}.get(name, "white")
    axes.plot(
        *at, marker="o", markersize=_MARKER, color=fill, markeredgecolor=INK, alpha=0.85, zorder=3
    )
    axes.annotate(
        str(place or "?"),
        at,
        ha="center",
        va="center",
        size=_FONT,
        color="white" if name == DEFAULT else INK,
        zorder=4,
    )


def _point(result: Result, who: Literal["host", "perturbed"]) -> tuple[float, float]:
    means: Mapping[str, Any] = result["audit"]["against_host"][who]["by_group"]
    return gap(result, who), means[worst(result)]["value"]


def _handle(text: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="", label=text)
