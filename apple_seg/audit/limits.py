"""What a reader must know of an audit's limits, as sentences."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from apple_seg.audit.cases import UNKNOWN_LABEL, Counts
from apple_seg.audit.settings import AuditSettings
from apple_seg.measure import POLICIES

SIMULATED_COVERAGE: Mapping[int, float] = {15: 0.97, 150: 0.95}
"""Cases in each of two groups, to how often the 95 % cluster-robust t interval of the difference
covered the truth. Source: the simulation on skewed Dice that the default interval was chosen by,
where percentile, BCa and bootstrap-t covered 88, 82 and 91 % at 15, and 94, 93 and 93 % at 150."""

ENOUGH = 150
"""Cases in the smaller group from which the interval covers what it says."""


def notes(
    counts: Mapping[str, Counts], scores: pd.DataFrame, settings: AuditSettings
) -> tuple[str, ...]:
    """Say what limits an audit: small groups, unknown attributes, unscored cases, units."""
    grouped = {label: one for label, one in counts.items() if label != UNKNOWN_LABEL}
    found = [*_small(grouped), *_clusters(scores), _unit(scores, settings)]
    found.append(
        f"Empty masks: policy {settings.policy!r} ({POLICIES[settings.policy].definition})."
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
    simulated = ", ".join(
        f"{100 * share:.0f} % at {each} + {each} cases"
        for each, share in SIMULATED_COVERAGE.items()
    )
    return [
        f"The smallest group, {smallest}, has {cases} scored cases. In simulation the 95 % t "
        f"interval of a difference covers the truth in {simulated}; the bootstrap's is too narrow "
        "below that."
    ]


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
