"""Tables of all metrics, of single classes, and under other policies for empty masks."""

from collections.abc import Mapping, Sequence

from apple_seg.audit.comparison import Comparison
from apple_seg.audit.inference.figures import Disaggregated
from apple_seg.audit.limits import UNITED
from apple_seg.audit.report.group_tables import cells, lines_of
from apple_seg.audit.report.phrases import GLOSSES, confidence
from apple_seg.audit.report.reading import Result, Series, audits_of, direction, host_of, series
from apple_seg.audit.results import Audit
from apple_seg.audit.tables import Form, Table, form_of, title_of
from apple_seg.measure import EVERY_POLICY, POLICIES


def metrics_table(result: Result) -> Table:
    """Return every metric by group; which numbers are the better ones stands with each."""
    names = [name for name in host_of(result).figures if _known(result, name)]
    blocks = {
        f"{title_of(name)}: {GLOSSES[name]}; {direction(name)}": (
            series(result, name),
            form_of(name),
        )
        for name in names
    }
    columns = [one.title for one in series(result, result.settings.metric)]
    note = f"In brackets: {confidence(result)} intervals."
    if any(name in UNITED for name in names):
        note += " For the unit of distances see “Limits of the numbers”."
    return _stacked(result, f"All measures by {host_of(result).attribute}", columns, blocks, note)


def class_table(result: Result) -> Table:
    """Return the metric of the verdict, class by class; no rows where there is one class."""
    form = form_of(result.settings.metric)
    found = _by_name(
        {whose: one.by_class for whose, one in audits_of(result).items()},
        result.change_by_class if isinstance(result, Comparison) else {},
    )
    columns = [one.title for one in next(iter(found.values()), [])]
    blocks = {name: (shown, form) for name, shown in found.items()}
    return _stacked(result, f"{title_of(result.settings.metric)} by class", columns, blocks)


def policy_table(result: Result) -> Table:
    """Return what the answer would be under each policy for empty masks."""
    form, policies = form_of(result.settings.metric), list(host_of(result).policies)
    named = {whose: one.policies for whose, one in audits_of(result).items()}
    blocks = {
        whose: ([Series(name, some[name]) for name in policies], form)
        for whose, some in named.items()
    }
    if isinstance(result, Comparison):
        changes = [Series(name, one, signed=True) for name, one in result.change_policies.items()]
        blocks["change"] = (changes, form)
    columns = [
        f"{name} (used here)" if name == result.settings.policy else name for name in policies
    ]
    title = f"{title_of(result.settings.metric)} under each policy for empty masks"
    if isinstance(result, Audit):
        blocks = {"": blocks["host"]}
    return _stacked(result, title, columns, blocks)


def policy_terms() -> tuple[tuple[str, str], ...]:
    """Return what each policy does, and what all do."""
    return (
        *((name, f"{policy.definition}.") for name, policy in POLICIES.items()),
        ("every policy", EVERY_POLICY),
    )


def _known(result: Result, name: str) -> bool:
    """Return whether any case has it: scores may come without the sizes of the masks."""
    found = [one.figures for one in series(result, name)]
    return name == result.settings.metric or any(one.overall.n_cases for one in found)


def _stacked(
    result: Result,
    title: str,
    columns: Sequence[str],
    blocks: Mapping[str, tuple[Sequence[Series], Form]],
    note: str = "",
) -> Table:
    """Return blocks of the same rows one below the other, each with its heading."""
    rows: list[tuple[str, ...]] = []
    parts = {}
    for heading, (shown, form) in blocks.items():
        if heading:
            parts[len(rows)] = heading
        for line in lines_of(result):
            written = cells(shown, line, form)
            rows.append((line.name, *written, *[""] * (len(columns) - len(written))))
    return Table(title, ("", *columns), rows, note, parts)


def _by_name(
    levels: Mapping[str, Mapping[str, Disaggregated]], changes: Mapping[str, Disaggregated]
) -> dict[str, list[Series]]:
    """Return each class's columns."""
    found: dict[str, list[Series]] = {}
    for whose, named in levels.items():
        for name, figures in named.items():
            title = whose if len(levels) > 1 else "mean"
            found.setdefault(name, []).append(Series(title, figures))
    for name, figures in changes.items():
        found[name].append(Series("change", figures, signed=True))
    return found
