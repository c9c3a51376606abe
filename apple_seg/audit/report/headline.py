"""The drawing that everybody looks at: means, differences and changes with their intervals."""

from functools import partial

from apple_seg.audit.comparison import Comparison
from apple_seg.audit.report.document import Plot, Plots
from apple_seg.audit.report.forest import Guide, Mark, Row, forest
from apple_seg.audit.report.reading import Result, audits_of, difference_name, host_of, labels_of
from apple_seg.audit.tables import Form, form_of, title_of


def headline(result: Result) -> Plots:
    """Return means, differences and changes as forest plots."""
    metric = title_of(result.settings.metric)
    plots = [means_plot(result, "answer"), differences_plot(result, "answer")]
    caption = (
        "Points are means, lines their intervals. A difference or a change whose line crosses 0 "
        "may be chance."
    )
    if isinstance(result, Comparison):
        plots.append(_changes_plot(result))
        caption += " Changes are of the same cases, so they are known better than the means."
    return Plots(f"{metric} by group, with intervals", tuple(plots), caption)


def means_plot(result: Result, name: str) -> Plot:
    """Draw each group's mean."""
    metric, form = result.settings.metric, form_of(result.settings.metric)
    rows = [
        Row(
            label,
            tuple(Mark(whose, one.by_group[label]) for whose, one in audits_of(result).items()),
        )
        for label in labels_of(result)
    ]
    return Plot(
        f"Mean {title_of(metric)}",
        partial(
            forest, rows, name=f"{name}-means", xlabel=f"mean {title_of(metric)} (more is better)"
        ),
        _alt(rows, form),
    )


def differences_plot(result: Result, name: str) -> Plot:
    """Draw each signed difference, with the margin that was declared."""
    metric, margin = result.settings.metric, result.settings.difference_margin
    rows = [
        Row(
            difference_name(result, label),
            tuple(Mark(whose, one.difference[label]) for whose, one in audits_of(result).items()),
        )
        for label in host_of(result).difference
    ]
    guide = Guide(f"declared worth showing: {margin:g}", (-margin, margin))
    drawn = partial(
        forest,
        rows,
        name=f"{name}-differences",
        xlabel=f"difference of mean {title_of(metric)} (0: none)",
        zero=True,
        guide=guide,
    )
    return Plot("Difference", drawn, _alt(rows, form_of(metric).difference))


def _changes_plot(result: Comparison) -> Plot:
    metric, margin = result.settings.metric, result.settings.margin
    rows = [Row(label, (Mark("change", result.by_group[label]),)) for label in labels_of(result)]
    drawn = partial(
        forest,
        rows,
        name="answer-changes",
        xlabel=f"change of {title_of(metric)}, perturbed minus host",
        zero=True,
        guide=Guide(f"most a group may lose: {margin:g}", (-margin,)),
    )
    return Plot("Change", drawn, _alt(rows, form_of(metric).difference))


def _alt(rows: list[Row], form: Form) -> str:
    """Say what a drawing shows, with its numbers."""
    return "; ".join(
        f"{row.label}, {mark.series}: {form.interval(mark.found)}"
        for row in rows
        for mark in row.marks
    )
