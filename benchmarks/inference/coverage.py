"""What of the simulation the library carries: the coverage at each size of the smaller group."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from apple_seg.audit.limits import ENOUGH, ENOUGH_CLUSTERS

HERE = Path(__file__).parents[1]
RESULTS = HERE / "results" / "inference.json"
PACKAGED = HERE.parent / "apple_seg" / "audit" / "coverage.json"

SIZES = (3, 6, 10, 15, 30, 50, 75, ENOUGH)
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
    bands = [
        _range((start, end), [row for row in rows if start <= row["smaller_group"] < end])
        for start, end in pairwise(SIZES)
    ]
    large = [row for row in rows if row["smaller_group"] >= ENOUGH]
    few = [row for row in large if row["smaller_clusters"] < ENOUGH_CLUSTERS]
    enough = [row for row in large if row["smaller_clusters"] >= ENOUGH_CLUSTERS]
    return {
        "source": "benchmarks/results/inference.json",
        "confidence": 0.95,
        "repeats": min((row["repeats"] for row in rows), default=0),
        "sizes": [one for one in (*bands, _range((ENOUGH, None), few)) if one],
        "enough": _range((ENOUGH, None), enough),
    }


def _range(cases: tuple[int, int | None], rows: Sequence[Row]) -> dict[str, Any]:
    if not rows:
        return {}
    lowest = min(rows, key=lambda row: row["coverage"])
    clusters = [row["smaller_clusters"] for row in rows]
    found: dict[str, Any] = {"cases": list(cases), "clusters": [min(clusters), max(clusters)]}
    for name, column in _KINDS.items():
        known = [row[column] for row in rows if row[column] is not None]
        found[name] = [min(known), max(known)] if known else None
    return {**found, "lowest": {name: lowest[name] for name in ("cohort", "smaller_clusters")}}
