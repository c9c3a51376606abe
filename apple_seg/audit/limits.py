"""What a reader must know of an audit's limits, as sentences."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from apple_seg.audit.cases import UNKNOWN_LABEL, Counts
from apple_seg.audit.settings import AuditSettings
from apple_seg.measure import EVERY_POLICY, METRICS, POLICIES

COVERAGE = Path(__file__).with_name("coverage.json")
"""How often intervals held the truth in simulated cohorts; benchmarks/inference writes it."""

ENOUGH, ENOUGH_CLUSTERS = 150, 45
"""Cases and clusters in the smaller group from which the measured coverage is not printed."""

UNITED = frozenset(
    name for name, metric in METRICS.items() if metric.kind == "distance" or name == "nsd"
)
"""Metrics whose numbers hang on a unit of length."""

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """The lowest and highest coverage over kinds of simulated cohorts of about one size."""

    confidence: float
    cases: tuple[int, int | None]
    """In the smaller group: so many at least, and fewer than so many."""

    clusters: Range
    """Patients in the smaller group, means of the kinds."""

    difference: Range
    """Of the t interval of a difference."""

    change: Range
    """Of the t interval of a group's paired change."""

    bootstrap: Range | None
    """Of the percentile bootstrap's interval of a difference, where it was measured."""


@cache
def _simulated() -> tuple[Coverage, ...]:
    stored = json.loads(COVERAGE.read_text(encoding="utf-8"))
    return tuple(
        Coverage(
            confidence=stored["confidence"],
            cases=(one["cases"][0], one["cases"][1]),
            clusters=(one["clusters"][0], one["clusters"][1]),
            difference=(one["difference"][0], one["difference"][1]),
            change=(one["change"][0], one["change"][1]),
            bootstrap=(one["bootstrap"][0], one["bootstrap"][1]) if one["bootstrap"] else None,
        )
        for one in stored["sizes"]
    )


def measured_coverage(cases: int, clusters: int) -> Coverage | None:
    """Return what was measured at the nearest size with no more cases and clusters than these.

    None where fewer were never simulated.

    Args:
        cases: In the smaller group.
        clusters: In the same group.
    """
    reached = [
        one for one in _simulated() if one.cases[0] <= cases and round(one.clusters[0]) <= clusters
    ]
    return max(reached, key=lambda one: one.cases[0], default=None)


def notes(
    counts: Mapping[str, Counts], scores: pd.DataFrame, settings: AuditSettings
) -> tuple[str, ...]:
    """Say what limits an audit: small groups, unknown attributes, unscored cases, units."""
    grouped = {label: one for label, one in counts.items() if label != UNKNOWN_LABEL}
    found = [*_small(grouped), *_clusters(scores), *_unit(scores, settings)]
    found.append(
        f"Empty masks: policy {settings.policy!r} ({POLICIES[settings.policy].definition}). "
        + EVERY_POLICY
    )
    if unknown := counts[UNKNOWN_LABEL].cases:
        found.append(
            f"{unknown} cases are of unknown group: they are in the overall figures and in no "
            "group, so the overall mean is not the groups' weighted mean."
        )
    total = sum(one.cases for one in counts.values())
    if unscored := total - sum(one.scored for one in counts.values()):
        found.append(f"{unscored} of {total} cases have no {settings.metric} and are left out.")
    return tuple(found)


def _small(grouped: Mapping[str, Counts]) -> list[str]:
    found = {
        label: measured_coverage(one.scored, one.clusters)
        for label, one in grouped.items()
        if one.scored < ENOUGH or one.clusters < ENOUGH_CLUSTERS
    }
    if not found:
        return []
    label = min(found, key=lambda label: (_size(found[label]), grouped[label].scored))
    least, measured = grouped[label], found[label]
    said = (
        f"The group with the least to go by, {label}, has {least.scored} scored cases of "
        f"{least.clusters} clusters. "
    )
    if measured is None:
        return [said + "How often an interval holds the truth with so few was not simulated."]
    return [said + _say(measured)]


def _size(found: Coverage | None) -> int:
    return found.cases[0] if found else 0


def _say(found: Coverage) -> str:
    (first, end), (least, most) = found.cases, map(round, found.clusters)
    cases = f"{first} to {end - 1}" if end else f"{first} or more"
    clusters = f"{least} to {most}" if least < most else f"{least}"
    bootstrap = f"; the bootstrap's in {_percent(found.bootstrap)}" if found.bootstrap else ""
    return (
        f"In simulated cohorts with {cases} there, of {clusters} patients, the "
        f"{100 * found.confidence:g} % t interval held the true difference in "
        f"{_percent(found.difference)} and the true change in {_percent(found.change)}{bootstrap}."
    )


def _percent(found: Range) -> str:
    """Say a range over kinds of cohorts."""
    low, high = (f"{100 * share:.0f}" for share in found)
    return f"{low} %" if low == high else f"{low}-{high} %"


def _clusters(scores: pd.DataFrame) -> list[str]:
    cases = scores.drop_duplicates("case")
    if cases["cluster"].nunique() < len(cases):
        return []
    return [
        "Every case is a cluster of its own: if some share a patient, intervals are too narrow."
    ]


def _unit(scores: pd.DataFrame, settings: AuditSettings) -> list[str]:
    """Say what distances are in, where any was measured."""
    if not any(name in scores for name in UNITED):
        return []
    words = {"mm": "mm", "px": "pixels, since no spacing is known"}
    units = unit_of(scores)
    named = " and ".join(words.get(unit, unit) for unit in units) or "units that were not recorded"
    return [f"Distances and the NSD's tolerance ({settings.tolerance:g}) are in {named}."]


def unit_of(scores: pd.DataFrame) -> list[Any]:
    """Return the units that distances are in."""
    return sorted(scores["unit"].unique()) if "unit" in scores else []
