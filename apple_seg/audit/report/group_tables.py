"""Tables of groups: means, signed differences, changes, and whether any group was harmed."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from apple_seg.audit.comparison import Comparison
from apple_seg.audit.inference.figures import Disaggregated
from apple_seg.audit.inference.holm import holm
from apple_seg.audit.inference.intervals import Estimate
from apple_seg.audit.report.phrases import confidence
from apple_seg.audit.report.reading import (
    Result,
    Series,
    audits_of,
    bootstrapped,
    difference_name,
    direction,
    host_of,
    labels_of,
    series,
    unknown_cases,
)
from apple_seg.audit.results import Audit
from apple_seg.audit.tables import Form, Table, form_of, title_of


class Line(NamedTuple):
    """One row: a group, a difference, or all cases."""

    name: str
    kind: Literal["by_group", "difference", "overall"]
    label: str = ""
    signed: bool = False

    def of(self, figures: Disaggregated) -> Estimate:
        """Return the row's number."""
        if self.kind == "overall":
            return figures.overall
        named = figures.by_group if self.kind == "by_group" else figures.difference
        return named[self.label]


def lines_of(result: Result) -> list[Line]:
    """Return the rows of every table of groups: the worst group first, all cases last."""
    return [
        *(Line(label, "by_group", label) for label in labels_of(result)),
        *(
            Line(difference_name(result, label), "difference", label, signed=True)
            for label in host_of(result).difference
        ),
        Line("all cases", "overall"),
    ]


def cells(shown: Sequence[Series], line: Line, form: Form) -> list[str]:
    """Write a row's numbers, with their intervals."""
    return [
        (form.difference if line.signed or one.signed else form).interval(line.of(one.figures))
        for one in shown
    ]


def main_table(result: Result) -> Table:
    """Return the metric of the verdict by group."""
    metric = result.settings.metric
    shown, form, rows = series(result, metric), form_of(metric), []
    for line in lines_of(result):
        last = line.of(shown[-1].figures)
        own = form.difference if line.signed or shown[-1].signed else form
        beside = [own.bootstrap(last)] if bootstrapped(result) else []
        row = (f"{last.n_cases:,}", *cells(shown, line, form), *beside)
        rows.append((_named(result, line.name), *row))
    note, boot = f"In brackets: {confidence(result)} intervals.", []
    if bootstrapped(result):
        boot = ["bootstrap interval" + ("" if len(shown) == 1 else " of the change")]
        note += (
            " The bootstrap, which draws clusters again and again, is another way to an interval, "
            "and stands beside for comparison."
        )
    if unknown := unknown_cases(result):
        note += f" “All cases” holds {unknown:,} of unknown {host_of(result).attribute}, too."
    title = f"Mean {title_of(metric)} by {host_of(result).attribute} ({direction(metric)})"
    return Table(title, ("", "cases", *(one.title for one in shown), *boot), rows, note)


def harm_table(result: Comparison) -> Table:
    """Say of every group whether it can have lost as much as the margin."""
    margin, form = result.settings.margin, form_of(result.settings.metric).difference
    words = {
        True: "no",
        False: "yes: it has lost more, its interval clear of the margin",
        None: "not known: the interval reaches the margin",
    }
    rows = []
    for label in labels_of(result):
        found = result.by_group[label]
        least = form.number(-margin), form.interval(found)
        detectable = Form(form.digits).number(found.minimum_detectable)
        rows.append(
            (label, f"{found.n_cases:,}", least[1], detectable, words[result.non_inferior[label]])
        )
    columns = (
        "",
        "cases",
        "change",
        "smallest change whose interval leaves out 0 in 4 of 5 such studies",
        "can it have lost the margin?",
    )
    return Table(
        f"Was any group harmed? The declared margin is {margin:g}",
        columns,
        rows,
        "“No” where the whole interval of the change lies above minus the margin: the group is "
        "not inferior to what it was.",
    )


def attributes_table(result: Result) -> Table:
    """Return every difference of every attribute that was looked at, and its p-values."""
    results: list[Result] = [result, *result.others]
    hosts = [host_of(one) for one in results]
    corrected = holm({one.attribute: one.p_values for one in hosts})
    many = sum(len(one.p_values) for one in hosts) > 1
    metric = result.settings.metric
    rows: list[tuple[str, ...]] = []
    parts = {}
    form = form_of(metric).difference
    for one, host in zip(results, hosts, strict=True):
        parts[len(rows)] = f"{host.attribute}: {verdicts_said(one)}"
        for label, found in host.difference.items():
            p = host.p_values[label]
            row = [difference_name(one, label), form.interval(found), _p(p)]
            row += [_p(corrected[host.attribute][label])] if many else []
            row += [form.interval(one.difference[label])] if isinstance(one, Comparison) else []
            rows.append(tuple(row))
    first = "difference" if isinstance(result, Audit) else "difference under the host"
    columns = ["", first, "p", *(["p, corrected"] if many else [])]
    columns += ["change of the difference"] if isinstance(result, Comparison) else []
    note = (
        "p: how often a difference at least as clear arises when clusters are dealt to the two "
        "groups at random (permutation test)."
    )
    if many:
        note += " Corrected: for the number of differences in this table (Holm)."
    return Table("Every difference that was looked at", tuple(columns), rows, note, parts)


def verdicts_said(result: Result) -> str:
    """Return an attribute's verdicts in a few words."""
    if isinstance(result, Audit):
        return f"difference {result.difference_verdict.answer}"
    return (
        f"difference under the host {result.difference_verdict.answer}, with the perturber "
        f"{result.perturbed.difference_verdict.answer}; change: {result.change_verdict.answer}"
    )


def spread_table(result: Result) -> Table:
    """Return how much the groups' true means vary, with and without what chance adds."""
    form = Form(digits=4)
    rows = [
        (
            whose,
            f"{one.dispersion.groups}",
            form.number(one.dispersion.naive_sd),
            form.number(one.dispersion.corrected_sd) if one.dispersion.groups > 1 else "-",
        )
        for whose, one in audits_of(result).items()
    ]
    return Table(
        "Spread between the groups' means (standard deviation)",
        ("", "groups", "as observed", "corrected for chance"),
        rows,
        "Small groups seem to differ even where nothing does. What chance adds is taken away from "
        "the corrected figure; 0 where nothing is left. Of few groups it can be the larger one, "
        "since it is divided by the number of groups less one.",
    )


def _named(result: Result, name: str) -> str:
    worst = name == result.worst_group
    whose = "worst" if isinstance(result, Audit) else "host's worst"
    return f"{name} ({whose})" if worst else name


def _p(value: float) -> str:
    if value != value:
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
