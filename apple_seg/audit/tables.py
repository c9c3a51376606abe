"""Tables as text, and how a metric's numbers are written in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from apple_seg.audit.cases import SIZES, UNKNOWN_LABEL, Counts
from apple_seg.audit.figures import Disaggregated
from apple_seg.audit.intervals import Estimate
from apple_seg.audit.results import Audit, Comparison
from apple_seg.measure import METRICS, POLICIES

_LONG = 34
"""Characters of a cell from which its column is prose: it wraps, and stands to the left."""

_NUMBER = tuple("+-<[0123456789")

_TITLES = {"truth_size": "Size of the true mask", "predicted_size": "Size of the predicted mask"}


class Table(NamedTuple):
    """A table of text."""

    title: str
    columns: tuple[str, ...]
    """The first one names the rows."""

    rows: Sequence[tuple[str, ...]]
    note: str = ""

    parts: Mapping[int, str] = MappingProxyType({})
    """Place of a row to the heading that stands before it."""

    @property
    def prose(self) -> frozenset[int]:
        """Places of the columns that hold words, not numbers."""
        return frozenset(
            place
            for place in range(1, len(self.columns))
            if any(len(row[place]) > _LONG for row in self.rows)
            or not any(row[place][:1] in _NUMBER for row in self.rows)
        )


@dataclass(frozen=True)
class Form:
    """How a metric's numbers are written."""

    digits: int = 4
    signed: bool = False

    def number(self, value: float) -> str:
        """Write a number; a dash where there is none."""
        if not np.isfinite(value):
            return "-"
        return f"{value:{'+' if self.signed else ''},.{self.digits}f}"

    def range(self, low: float, high: float) -> str:
        """Write the ends of an interval."""
        return f"[{self.number(low)}, {self.number(high)}]"

    def interval(self, found: Estimate) -> str:
        """Write a value with its interval."""
        if found.n_cases == 0:
            return "no cases"
        if not found.known:
            return f"{self.number(found.value)} [no interval]"
        return f"{self.number(found.value)} {self.range(found.low, found.high)}"

    def bootstrap(self, found: Estimate) -> str:
        """Write the bootstrap's interval."""
        if not np.isfinite(found.bootstrap_low):
            return "-"
        return self.range(found.bootstrap_low, found.bootstrap_high)

    @property
    def difference(self) -> "Form":
        """How differences and changes of such numbers are written: a digit more, with a sign."""
        return Form(self.digits if self.signed or not self.digits else self.digits + 1, signed=True)


def title_of(name: str) -> str:
    """Return what a column is called in prose."""
    return METRICS[name].title if name in METRICS else _TITLES[name]


def form_of(name: str) -> Form:
    """Return how a column's means are written."""
    if name in SIZES:
        return Form(digits=0)
    return Form(digits=1 if METRICS[name].kind == "distance" else 3)


def percent(share: float) -> str:
    """Write a share."""
    return f"{100 * share:.1f} %" if np.isfinite(share) else "-"


def counted(number: int, of: int) -> str:
    """Write a count, and what share of how many it is."""
    return f"{number:,} ({percent(number / of)})" if of and number else f"{number:,}"


def audit_tables(audit: Audit) -> list[Table]:
    """Return the tables of an audit, the ones to show first at the front."""
    return [_headline(audit), _by_group(audit), *_by_class(audit), _policies(audit), _counts(audit)]


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Return the tables of a comparison, the one to show first at the front."""
    names = [comparison.settings.metric]
    names += [name for name in comparison.changes if name not in names]
    return [
        *(_compared(comparison, name) for name in names),
        *_class_changes(comparison),
        _policy_changes(comparison),
        _counts(comparison.host, "Counts, host"),
        _counts(comparison.perturbed, "Counts, perturbed"),
    ]


def _headline(audit: Audit) -> Table:
    name = audit.settings.metric
    form, worst = form_of(name), audit.worst_group
    rows = []
    if worst is not None:
        rows.append(_row(f"worst group: {worst}", audit.by_group[worst], form))
    for label, found in audit.difference.items():
        rows.append(_row(f"{audit.reference} minus {label}", found, form.difference))
    columns = ("", "cases", "clusters", _t_title(audit), "bootstrap", "smallest detectable")
    return Table(title_of(name), columns, rows)


def _row(name: str, found: Estimate, form: Form) -> tuple[str, ...]:
    counts = str(found.n_cases), str(found.n_clusters)
    detectable = Form(form.digits).number(found.minimum_detectable)
    return (name, *counts, form.interval(found), form.bootstrap(found), detectable)


def _by_group(audit: Audit) -> Table:
    figures = audit.figures
    columns = ("", "cases", *map(title_of, figures))
    rows = [
        (label, str(found.n_cases), *_across({n: f.by_group[label] for n, f in figures.items()}))
        for label, found in audit.by_group.items()
    ]
    for label, found in audit.difference.items():
        cells = _across({n: f.difference[label] for n, f in figures.items()}, signed=True)
        rows.append((f"{audit.reference} minus {label}", str(found.n_cases), *cells))
    everyone = _across({name: one.overall for name, one in figures.items()})
    rows.append(("all cases", str(audit.overall.n_cases), *everyone))
    return Table(f"By {audit.attribute}", columns, rows, _unknown_note(audit))


def _across(estimates: Mapping[str, Estimate], *, signed: bool = False) -> list[str]:
    forms = {name: form_of(name) for name in estimates}
    return [
        (forms[name].difference if signed else forms[name]).interval(found)
        for name, found in estimates.items()
    ]


def _compared(comparison: Comparison, name: str) -> Table:
    host, perturbed = comparison.host.figures[name], comparison.perturbed.figures[name]
    change, form, worst = comparison.changes[name], form_of(name), comparison.worst_group
    main = name == comparison.settings.metric

    def row(title: str, *three: Estimate, signed: bool = False) -> tuple[str, ...]:
        shown = form.difference if signed else form
        cells = (shown.interval(three[0]), shown.interval(three[1]))
        last = form.difference.interval(three[2])
        boot = (form.difference.bootstrap(three[2]),) if main else ()
        return (title, str(three[2].n_cases), *cells, last, *boot)

    rows = [
        row(
            f"{label} (host's worst)" if main and label == worst else label,
            *(figures.by_group[label] for figures in (host, perturbed, change)),
        )
        for label in sorted(change.by_group, key=lambda label: label != worst)
    ]
    for label in change.difference:
        three = (figures.difference[label] for figures in (host, perturbed, change))
        rows.append(row(f"{comparison.host.reference} minus {label}", *three, signed=True))
    rows.append(row("all cases", host.overall, perturbed.overall, change.overall))
    boot = ("bootstrap of the change",) if main else ()
    columns = ("", "cases", "host", "perturbed", "change", *boot)
    title = f"{title_of(name)} by {comparison.host.attribute}, {_t_title(comparison.host)}"
    return Table(title, columns, rows, _unknown_note(comparison.host) if main else "")


def _by_class(audit: Audit) -> list[Table]:
    form, labels = form_of(audit.settings.metric), list(audit.by_group)
    rows = [_class_row(name, one, form) for name, one in audit.by_class.items()]
    title = f"{title_of(audit.settings.metric)} by class"
    return [Table(title, _class_columns(labels, audit), rows)] if rows else []


def _class_changes(comparison: Comparison) -> list[Table]:
    form = form_of(comparison.settings.metric).difference
    rows = [_class_row(name, one, form) for name, one in comparison.change_by_class.items()]
    columns = _class_columns(list(comparison.by_group), comparison.host)
    title = f"Change of {title_of(comparison.settings.metric)} by class"
    return [Table(title, columns, rows)] if rows else []


def _policies(audit: Audit) -> Table:
    form, labels = form_of(audit.settings.metric), list(audit.by_group)
    rows = [
        _class_row(_policy_name(name, audit), one, form) for name, one in audit.policies.items()
    ]
    return Table(_POLICY_TITLE, _class_columns(labels, audit), rows, _policy_note())


def _policy_changes(comparison: Comparison) -> Table:
    form, host = form_of(comparison.settings.metric).difference, comparison.host
    rows = [
        _class_row(_policy_name(name, host), one, form)
        for name, one in comparison.change_policies.items()
    ]
    columns = _class_columns(list(comparison.by_group), host)
    return Table(f"Change. {_POLICY_TITLE}", columns, rows, _policy_note())


_POLICY_TITLE = "What the answer would be under other policies for empty masks"


def _policy_name(name: str, audit: Audit) -> str:
    return f"{name} (used here)" if name == audit.settings.policy else name


def _policy_note() -> str:
    return "; ".join(f"{name} - {policy.definition}" for name, policy in POLICIES.items())


def _class_columns(labels: list[str], audit: Audit) -> tuple[str, ...]:
    others = (f"{audit.reference} minus {label}" for label in audit.difference)
    return ("", *labels, *others, "all cases")


def _class_row(name: str, figures: Disaggregated, form: Form) -> tuple[str, ...]:
    means = (form.interval(found) for found in figures.by_group.values())
    others = (form.difference.interval(found) for found in figures.difference.values())
    return (name, *means, *others, form.interval(figures.overall))


def _counts(audit: Audit, title: str = "Counts") -> Table:
    names = [field.name for field in fields(Counts)]
    columns = ("", *(name.replace("_", " ") for name in names))
    counts: Mapping[str, Counts] = audit.counts
    rows = [(label, *(str(getattr(one, n)) for n in names)) for label, one in counts.items()]
    return Table(title, columns, rows, "Masks are counted by class.")


def _unknown_note(audit: Audit) -> str:
    unknown = audit.counts[UNKNOWN_LABEL].cases
    return f"`all cases` holds {unknown} cases of unknown group." if unknown else ""


def _t_title(audit: Audit) -> str:
    return f"mean and {100 * audit.settings.confidence:.4g} % interval"
