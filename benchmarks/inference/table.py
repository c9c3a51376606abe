"""The table of results/inference.json, as Markdown."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from benchmarks.speed.tables import heading, line

Row = Mapping[str, Any]

_SHARES = (
    "coverage",
    "coverage_bootstrap",
    "coverage_change",
    "false_improved",
    "power",
    "power_change",
    "power_fairlearn",
    "power_fairmedfm",
)
_ADJUSTED = ("coverage", "coverage_adjusted_regression", "coverage_adjusted_matching")


def whole(content: Mapping[str, Any]) -> str:
    """Return what the kinds are, a row a kind and size, and the adjusted differences."""
    kinds = [f"- *{name}*: {about}" for name, about in content["cohorts"].items()]
    adjusted = [row for row in content["rows"] if row["coverage_adjusted_regression"] is not None]
    parts = ["\n".join(kinds), _rows(content["rows"]), _adjusted(adjusted)]
    return "\n\n".join(parts) + "\n"


def _rows(rows: Sequence[Row]) -> str:
    header = ["cohort", "cases", "smallest group (patients)", "difference: t holds it"]
    header += ["bootstrap holds it", "change: t holds it", "falsely `improved`", "`present`"]
    header += ["planted change found", "fairlearn excludes 0", "fairmedfm > 0.05"]
    lines = heading(header)
    for name, group in groupby(rows, key=lambda row: row["cohort"]):
        for place, row in enumerate(group):
            smallest = f"{row['smaller_group']} ({row['smaller_clusters']:.3g})"
            cells = [name if place == 0 else "", row["cases"], smallest]
            lines.append(line([*cells, *(_percent(row[column]) for column in _SHARES)]))
    return "\n".join(lines)


def _adjusted(rows: Sequence[Row]) -> str:
    header = ["size-confounded, cases", "raw difference held", "0 held: regression", "matching"]
    lines = heading(header)
    for row in rows:
        lines.append(line([row["cases"], *(_percent(row[column]) for column in _ADJUSTED)]))
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"
