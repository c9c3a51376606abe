"""A score, or its change, against a number such as age."""

from collections.abc import Mapping, Sequence

from apple_seg.audit.inference.curves import Curve
from apple_seg.audit.report.canvas import DIM, INK, LOOKS, figure, legend, svg, tidy


def lines(
    curves: Mapping[str, Curve],
    *,
    name: str,
    ylabel: str,
    cuts: Sequence[float],
    zero: bool = False,
) -> str:
    """Draw curves with their bands.

    Args:
        curves: By series, a key of `LOOKS`; one at least.
        name: See `svg`.
        ylabel: What is measured.
        cuts: Where groups are cut: vertical lines.
        zero: Whether a line stands at 0.
    """
    drawn = figure(4.4, 2.8)
    axes = drawn.add_subplot()
    for series, one in curves.items():
        look = LOOKS[series]
        axes.fill_between(one.x, one.low, one.high, color=look.colour, alpha=0.16, linewidth=0)
        axes.plot(
            one.x,
            one.value,
            look.dashes,
            color=look.colour,
            linewidth=1.8,
            marker=look.marker,
            markevery=8,
            markersize=4.5,
            label=series,
        )
    first = next(iter(curves.values()))
    for nth, cut in enumerate(cuts):
        axes.axvline(
            cut,
            color=DIM,
            linewidth=1.2,
            linestyle=(0, (2, 2)),
            zorder=1,
            label=None if nth else _cut_label(cuts),
        )
    if zero:
        axes.axhline(0, color=INK, linewidth=1, zorder=1)
    axes.set_xlabel(first.column)
    axes.set_ylabel(ylabel)
    axes.locator_params(axis="y", nbins=6)
    tidy(axes, grid="both")
    if len(curves) > 1 or cuts:
        handles, labels = axes.get_legend_handles_labels()
        legend(drawn, handles=handles, labels=labels, ncols=3, columnspacing=1.2)
    return svg(drawn, name)


def _cut_label(cuts: Sequence[float]) -> str:
    return "cut between groups" if len(cuts) == 1 else "cuts between groups"
