"""What of the simulation the library carries: the coverage at each size of the smaller group."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[1]
RESULTS = HERE / "results" / "inference.json"
PACKAGED = HERE.parent / "apple_seg" / "audit" / "coverage.json"

SIZES = (3, 6, 10, 15, 30, 50, 75, 150)
"""Cases in the smaller group from which a range holds, up to the next."""

_KINDS = {
    "difference": "coverage",
    "change": "coverage_change",
    "bootstrap": "coverage_bootstrap",
}

Row = Mapping[str, Any]


def measured(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the lowest and the highest coverage over kinds of cohorts, by size.

    Args:
        content: Of results/inference.json.
    """
    rows = content["rows"]
    ends = [*SIZES[1:], float("inf")]
    sizes = [
        _range(start, [row for row in rows if start <= row["smaller_group"] < end])
        for start, end in zip(SIZES, ends, strict=True)
    ]
    return {
        "source": "benchmarks/results/inference.json",
        "confidence": 0.95,
        "repeats": min((row["repeats"] for row in rows), default=0),
        "sizes": [one for one in sizes if one],
    }


def _range(start: int, rows: Sequence[Row]) -> dict[str, Any]:
    if not rows:
        return {}
    lowest = min(rows, key=lambda row: row["coverage"])
    clusters = [row["smaller_clusters"] for row in rows]
    found: dict[str, Any] = {"cases": start, "clusters": [min(clusters), max(clusters)]}
    for name, column in _KINDS.items():
        known = [row[column] for row in rows if row[column] is not None]
        found[name] = [min(known), max(known)] if known else None
    return {**found, "lowest": {name: lowest[name] for name in ("cohort", "smaller_clusters")}}
