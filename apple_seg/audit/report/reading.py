"""An audit or a comparison, as the sections of a report read it."""

import re
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import NamedTuple

from apple_seg.audit.cases import SIZES, UNKNOWN_LABEL
from apple_seg.audit.comparison import Comparison
from apple_seg.audit.inference.figures import Disaggregated
from apple_seg.audit.results import Audit
from apple_seg.measure import METRICS

Result = Audit | Comparison


class Series(NamedTuple):
    """Figures of one metric, a column of a table."""

    title: str
    figures: Disaggregated
    signed: bool = False
    """Whether means are changes, too."""


def host_of(result: Result) -> Audit:
    """Return the audit of the host as deployed."""
    return result if isinstance(result, Audit) else result.host


def audits_of(result: Result) -> dict[str, Audit]:
    """Return the audits by whose they are: `host`, and `perturbed` in a comparison."""
    if isinstance(result, Audit):
        return {"host": result}
    return {"host": result.host, "perturbed": result.perturbed}


def series(result: Result, name: str) -> list[Series]:
    """Return a metric's columns: the host's alone, or host, perturbed and change."""
    if isinstance(result, Audit):
        return [Series("mean", result.figures[name])]
    found = [Series(whose, one.figures[name]) for whose, one in audits_of(result).items()]
    if name in result.changes:  # the true size does not change
        found.append(Series("change", result.changes[name], signed=True))
    return found


def bootstrapped(result: Result) -> bool:
    """Return whether bootstrap intervals stand beside: not of several runs, nor where left out."""
    figures = series(result, result.settings.metric)[-1].figures
    found = (figures.overall, *figures.by_group.values(), *figures.difference.values())
    return any(isfinite(one.bootstrap_low) for one in found)


def columns_of(result: Result, name: str) -> dict[str, str]:
    """Return whose column of the cases holds a metric: `host`, and `perturbed` in a comparison."""
    if isinstance(result, Audit):
        return {"host": name}
    return {whose: f"{whose}_{name}" for whose in audits_of(result)}


def labels_of(result: Result) -> list[str]:
    """Return the groups, the host's worst first, then in the order of their declaration."""
    worst = result.worst_group
    return sorted(host_of(result).by_group, key=lambda label: label != worst)


def others_of(result: Result) -> Sequence[Result]:
    """Return the same scores by other attributes."""
    return result.others


def difference_name(result: Result, label: str) -> str:
    """Return what a signed difference is called."""
    return f"{host_of(result).reference} minus {label}"


def cuts_of(labels: Sequence[str], column: str) -> list[float]:
    """Return where groups cut a number, read off their labels."""
    pattern = re.compile(rf"(?:^|, |<= ){re.escape(column)} (?:<|>=) (\S+?)(?:,|$)")
    found = {float(cut) for label in labels for cut in pattern.findall(label)}
    return sorted(found)


def direction(name: str) -> str:
    """Say which numbers of a metric are the better ones."""
    if name in SIZES:
        return "neither more nor less is better"
    return {
        "overlap": "more is better",
        "distance": "less is better",
        "signed": "0 is best; above it masks are too large, below it too small",
    }[METRICS[name].kind]


def unknown_cases(result: Result) -> int:
    """Return how many cases are of no known group."""
    return host_of(result).counts[UNKNOWN_LABEL].cases


def moved(result: Comparison, label: str) -> Mapping[str, int]:
    """Count a group's cases that gained or lost more than the margin, and the others."""
    metric, margin = result.settings.metric, result.settings.margin
    change = result.cases.loc[result.cases["group"] == label, f"change_{metric}"].dropna()
    gained, lost = int((change > margin).sum()), int((change < -margin).sum())
    return {"gained": gained, "lost": lost, "all": len(change)}
