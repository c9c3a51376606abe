"""The group, or what goes with it: differences among cases alike, and curves against numbers."""

from collections.abc import Mapping
from functools import partial

from apple_seg.audit.comparison import Comparison
from apple_seg.audit.inference.adjust import Adjustment
from apple_seg.audit.inference.curves import Curve
from apple_seg.audit.report.answers import clearest
from apple_seg.audit.report.document import Plot, Plots, Prose, Section, tabled
from apple_seg.audit.report.forest import Mark, Row, forest
from apple_seg.audit.report.lines import lines
from apple_seg.audit.report.phrases import enumerate_words
from apple_seg.audit.report.reading import Result, audits_of, cuts_of, difference_name, host_of
from apple_seg.audit.results import Audit
from apple_seg.audit.tables import Table, form_of, percent, title_of

CONFOUNDING = "The group, or what goes with it?"
"""What the section is called where others refer to it."""

_HOW = (
    "Regression takes out what goes with each of these: a smooth curve of a number, a step for "
    "each word, the same in every group. Matching compares only cases that are alike in all of "
    "them; cases without a counterpart are left out, and the last column says how many are kept."
)


def confounding(result: Result, name: str = "confounding") -> Section | None:
    """Return the differences among cases alike beside the raw ones; None where there are none."""
    adjusted = host_of(result).adjusted
    if not adjusted:
        return None
    metric = title_of(result.settings.metric)
    known = list(dict.fromkeys(one for some in adjusted for one in some.covariates))
    return Section(
        name=name,
        title=CONFOUNDING,
        blocks=(
            Prose(
                f"Groups also differ in other things, and these may cost {metric} on their own: an "
                "error of one pixel at the edge costs a small mask more than a large one. Adjusted "
                "is the difference that is left among cases alike in "
                f"{enumerate_words(known)}. Where it falls towards 0, the raw difference goes with "
                "these. That does not make it harmless: a group whose lesions are found late, and "
                "so are larger, is harmed by way of their size. Where it stays, they do not "
                "explain it, and something that was not recorded still may."
            ),
            Prose(_finding(result)),
            _adjusted_plot(result, name),
            *tabled([_adjusted_table(result)]),
        ),
    )


def _finding(result: Result) -> str:
    """Say what became of the clearest difference."""
    host, form = host_of(result), form_of(result.settings.metric).difference
    named = clearest(host.difference.items())
    if named is None:
        return ""
    label, raw = named
    left = "; ".join(
        f"{step} {form.number(one.difference[label].value)}" for step, one in _steps(host.adjusted)
    )
    name = difference_name(result, label)
    return f"Here {name} is {form.number(raw.value)} raw. Among cases {left}."


def curves(result: Result) -> Section | None:
    """Return the score against each number; None where none was declared or could be drawn."""
    found = {whose: one.curves for whose, one in audits_of(result).items()}
    if not found["host"]:
        return None
    blocks = [_curve_plots(result, column) for column in found["host"]]
    said = Prose(
        "Groups are cut at a number that somebody chose; the curve is not. It is drawn where the "
        "middle 96 % of cases are, with its interval at each place as a band."
    )
    title = f"Along {enumerate_words(list(found['host']))}"
    return Section(name="curves", title=title, blocks=(said, *blocks))


def _steps(adjusted: tuple[Adjustment, ...]) -> list[tuple[str, Adjustment]]:
    return [
        (f"alike in {enumerate_words(list(one.covariates))} ({one.method})", one)
        for one in adjusted
    ]


def _adjusted_plot(result: Result, name: str) -> Plots:
    audits, form = audits_of(result), form_of(result.settings.metric).difference
    plots = []
    for nth, label in enumerate(host_of(result).difference):
        rows = [
            Row("raw", tuple(Mark(whose, one.difference[label]) for whose, one in audits.items()))
        ]
        for place, (step, _) in enumerate(_steps(host_of(result).adjusted)):
            marks = (
                Mark(whose, one.adjusted[place].difference[label])
                for whose, one in audits.items()
                if place < len(one.adjusted)
            )
            rows.append(Row(step, tuple(marks)))
        drawn = partial(
            forest,
            rows,
            name=f"{name}-{nth}",
            xlabel=f"difference of mean {title_of(result.settings.metric)}",
            zero=True,
        )
        alt = "; ".join(
            f"{row.label}, {mark.series}: {form.interval(mark.found)}"
            for row in rows
            for mark in row.marks
        )
        plots.append(Plot(difference_name(result, label), drawn, alt))
    return Plots("Raw and adjusted differences", tuple(plots), "")


def _adjusted_table(result: Result) -> Table:
    audits, form = audits_of(result), form_of(result.settings.metric).difference
    rows: list[tuple[str, ...]] = []
    parts = {}
    for label in host_of(result).difference:
        parts[len(rows)] = difference_name(result, label)
        raw = (form.interval(one.difference[label]) for one in audits.values())
        rows.append(("raw", *raw, percent(1.0)))
        for place, (step, adjustment) in enumerate(_steps(host_of(result).adjusted)):
            found = (
                form.interval(one.adjusted[place].difference[label])
                if place < len(one.adjusted)
                else "-"
                for one in audits.values()
            )
            rows.append((step, *found, percent(adjustment.used[label])))
    titles = ["difference"] if isinstance(result, Audit) else list(audits)
    columns = ("", *titles, "share of the group's cases used")
    return Table("Differences among cases alike", columns, rows, _HOW, parts)


def _curve_plots(result: Result, column: str) -> Plots:
    metric = title_of(result.settings.metric)
    audits = audits_of(result)
    levels = {whose: one.curves[column] for whose, one in audits.items() if column in one.curves}
    cuts = cuts_of(list(host_of(result).by_group), column)
    plots = [
        Plot(
            "Mean",
            partial(lines, levels, name=f"curve-{column}", ylabel=f"mean {metric}", cuts=cuts),
            _alt(levels, result),
        )
    ]
    if isinstance(result, Comparison) and column in result.change_curves:
        change = {"change": result.change_curves[column]}
        drawn = partial(
            lines,
            change,
            name=f"change-{column}",
            ylabel=f"change of {metric}",
            cuts=cuts,
            zero=True,
        )
        plots.append(Plot("Change", drawn, _alt(change, result)))
    return Plots(f"{metric} against {column}", tuple(plots), _caption(result, column))


def _alt(found: Mapping[str, Curve], result: Result) -> str:
    """Say how far curves fall from their lower to their upper end."""
    form = form_of(result.settings.metric).difference
    first = next(iter(found.values()))
    low, high = (f"{end:g}" for end in first.ends)
    falls = "; ".join(f"{series} {form.interval(one.fall)}" for series, one in found.items())
    return f"Mean at {first.column} {low} minus mean at {first.column} {high}: {falls}."


def _caption(result: Result, column: str) -> str:
    found = {whose: one.curves[column] for whose, one in audits_of(result).items()}
    change = result.change_curves.get(column) if isinstance(result, Comparison) else None
    said = _alt(found | ({"change": change} if change else {}), result)
    return f"{said} These two ends hold the middle 80 % of cases."
