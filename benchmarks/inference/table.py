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


def brief(content: Mapping[str, Any]) -> str:
    """Return a row a kind: what intervals and verdicts are worth, beside other answers."""
    header = ["cohort", "95 % interval holds the difference", "in smaller cohorts"]
    header += ["falsely improved", f"says there is a difference, {_AT} cases"]
    lines = heading([*header, "fairlearn", "fairmedfm above 0.05"])
    for name, group in groupby(content["rows"], key=lambda row: row["cohort"]):
        rows = list(group)
        large = [row for row in rows if row["smaller_group"] >= 150]
        enough = [row for row in large if row["smaller_clusters"] >= 45]
        fewer = [row for row in rows if row not in enough]
        improved = [row["false_improved"] for row in rows if row["false_improved"] is not None]
        cells = [name, _range(enough, "coverage"), _range(fewer, "coverage")]
        cells.append(f"at most {_percent(max(improved))}" if improved else "")
        shown = [row for row in rows if row["cases"] in _SIZES]
        lines.append(line([*cells, *(_listed(shown, column) for column in _ANSWERS)]))
    return "\n".join(lines) + "\n"


_SIZES = (60, 300, 3000)
_AT = " / ".join(f"{size:,}" for size in _SIZES)
_ANSWERS = ("power", "power_fairlearn", "power_fairmedfm")


def _range(rows: Sequence[Row], column: str) -> str:
    shares = [row[column] for row in rows]
    return f"{_percent(min(shares))}-{_percent(max(shares))}" if shares else ""


def _listed(rows: Sequence[Row], column: str) -> str:
    return " / ".join("" if row[column] is None else f"{100 * row[column]:.0f}" for row in rows)


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
