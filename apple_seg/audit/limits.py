"""What a reader must know of an audit's limits, as sentences."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from apple_seg.audit.cases import UNKNOWN_LABEL, Counts
from apple_seg.audit.settings import AuditSettings
from apple_seg.measure import EVERY_POLICY, POLICIES

COVERAGE = Path(__file__).with_name("coverage.json")
"""How often intervals held the truth in simulated cohorts; benchmarks/inference writes it."""

ENOUGH = 150
"""Cases in the smaller group from which the measured coverage is not printed."""

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """The lowest and highest coverage over kinds of simulated cohorts of about one size."""

    confidence: float
    cases: int
    """In the smaller group, at least."""

    below: int
    """And fewer than so many."""

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
    sizes = stored["sizes"]
    return tuple(
        Coverage(
            confidence=stored["confidence"],
            cases=one["cases"],
            below=after["cases"],
            clusters=(one["clusters"][0], one["clusters"][1]),
            difference=(one["difference"][0], one["difference"][1]),
            change=(one["change"][0], one["change"][1]),
            bootstrap=(one["bootstrap"][0], one["bootstrap"][1]) if one["bootstrap"] else None,
        )
        for one, after in itertools.pairwise(sizes)
    )


def measured_coverage(cases: int) -> Coverage | None:
    """Return what was measured where the smaller group has so many cases, or next fewer.

    None where it has fewer than any that was simulated, or as many as are enough.
    """
    return next((one for one in _simulated() if one.cases <= cases < one.below), None)


def notes(
    counts: Mapping[str, Counts], scores: pd.DataFrame, settings: AuditSettings
) -> tuple[str, ...]:
    """Say what limits an audit: small groups, unknown attributes, unscored cases, units."""
    grouped = {label: one for label, one in counts.items() if label != UNKNOWN_LABEL}
    found = [*_small(grouped), *_clusters(scores), _unit(scores, settings)]
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
    smallest = min(grouped, key=lambda label: grouped[label].scored)
    cases = grouped[smallest].scored
    if cases >= ENOUGH:
        return []
    said = (
        f"The smallest group, {smallest}, has {cases} scored cases of {grouped[smallest].clusters} "
        "clusters. "
    )
    if (found := measured_coverage(cases)) is None:
        return [said + "How often an interval holds the truth with so few was not simulated."]
    bootstrap = f"; the bootstrap's in {_percent(found.bootstrap)}" if found.bootstrap else ""
    return [
        f"{said}In simulated cohorts with {found.cases} to {found.below - 1} there, of "
        f"{found.clusters[0]:.0f} to {found.clusters[1]:.0f} patients, the "
        f"{100 * found.confidence:g} % t interval held the true difference in "
        f"{_percent(found.difference)} and the true change in {_percent(found.change)}{bootstrap}."
    ]


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


def _unit(scores: pd.DataFrame, settings: AuditSettings) -> str:
    words = {"mm": "mm", "px": "pixels, since no spacing is known"}
    units = unit_of(scores)
    named = " and ".join(words.get(unit, unit) for unit in units) or "units that were not recorded"
    return f"Distances and the NSD's tolerance ({settings.tolerance:g}) are in {named}."


def unit_of(scores: pd.DataFrame) -> list[Any]:
    """Return the units that distances are in."""
    return sorted(scores["unit"].unique()) if "unit" in scores else []
