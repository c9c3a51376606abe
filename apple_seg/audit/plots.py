"""Plots of the report, as PNG: what means hide."""

import io
from typing import Any

import numpy as np

from apple_seg.audit.gallery import LINES
from apple_seg.audit.results import Audit, Comparison
from apple_seg.measure import METRICS

_POINTS = 1500  # dots a group; more only make the file larger


def distributions(result: Audit | Comparison) -> bytes:
    """Draw the distribution of the metric by group: boxes over the cases themselves."""
    metric = result.settings.metric
    columns = (
        {"host": metric}
        if isinstance(result, Audit)
        else {"host": f"host_{metric}", "perturbed": f"perturbed_{metric}"}
    )
    groups = list(result.by_group)
    figure, canvas = _figure(7.5, 0.6 + 0.45 * len(groups) * len(columns))
    axes = figure.add_subplot()
    ticks, rng = [], np.random.default_rng(0)
    for place, (group, (name, column)) in enumerate(
        (group, item) for group in groups for item in columns.items()
    ):
        cases = result.cases.loc[result.cases["group"] == group, column].dropna().to_numpy()
        ticks.append(f"{group}, {name}" if len(columns) > 1 else group)
        some = rng.permutation(cases)[:_POINTS]
        height = -place + rng.uniform(-0.25, 0.25, len(some))
        axes.plot(some, height, ".", color=LINES[name].colour, markersize=2, alpha=0.5, zorder=1)
        if len(cases):
            _box(axes, cases, -place)
    axes.set_yticks([-place for place in range(len(ticks))], ticks)
    axes.set_xlabel(METRICS[metric].title)
    axes.set_xlim(-0.02, 1.02)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    return _png(canvas)


def before_after(comparison: Comparison) -> bytes:
    """Draw each case's score under both hosts, a panel a group."""
    metric, groups = comparison.settings.metric, list(comparison.by_group)
    columns = min(len(groups), 4)
    lines = -(-len(groups) // columns)
    figure, canvas = _figure(2.6 * columns, 2.8 * lines)
    for place, group in enumerate(groups, start=1):
        cases = comparison.cases[comparison.cases["group"] == group]
        axes = figure.add_subplot(lines, columns, place)
        axes.plot([0, 1], [0, 1], color="#666666", linewidth=0.8)
        axes.plot(
            cases[f"host_{metric}"],
            cases[f"perturbed_{metric}"],
            ".",
            color="#0072b2",
            markersize=3,
            alpha=0.5,
        )
        axes.set(title=group, xlabel="host", ylabel="perturbed", xlim=(-0.02, 1.02))
        axes.set(ylim=(-0.02, 1.02), aspect="equal")
    return _png(canvas)


def _box(axes: Any, cases: Any, height: float) -> None:
    axes.boxplot(
        [cases],
        positions=[height],
        orientation="horizontal",
        widths=0.5,
        showfliers=False,
        showmeans=True,
        manage_ticks=False,
        zorder=2,
        medianprops={"color": "black", "linewidth": 1.6},
        meanprops={"marker": "D", "markerfacecolor": "black", "markeredgecolor": "white"},
    )


def _figure(width: float, height: float) -> tuple[Any, Any]:
    """Return a figure and its canvas, without pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    return figure, FigureCanvasAgg(figure)


def _png(canvas: Any) -> bytes:
    content = io.BytesIO()
    canvas.print_figure(content, format="png")
    return content.getvalue()
