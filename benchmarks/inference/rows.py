"""One row of the results: a kind of cohort at a size, drawn again and again."""

import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from apple_seg.audit import Change, Difference, Estimate
from apple_seg.audit.inference.adjust import METHODS, adjust
from benchmarks.inference.cohorts import KINDS, Kind
from benchmarks.inference.judging import SETTINGS, Judged, judge
from benchmarks.inference.rivals import fairlearn_difference, fairmedfm_gap

RESAMPLES, FEW = 1000, 300
"""Of the bootstrap beside the t interval, and the cases up to which it is measured."""

COLUMNS: Mapping[str, str] = {
    "cohort": "kind of cohort",
    "cases": "in all",
    "groups": "how many",
    "clusters": "patients in all, mean over repeats",
    "smaller_group": "cases in the smallest group",
    "smaller_clusters": "patients in it, mean over repeats",
    "repeats": "cohorts drawn",
    "difference": "planted: the largest of reference minus group, without its sign",
    "known": "share of intervals of the difference that exist: each group has two patients",
    "coverage": "share of 95 % intervals of the difference, where they exist, that hold the truth",
    "coverage_se": "Monte Carlo standard error of `coverage`",
    "coverage_bootstrap": "the same of the percentile bootstrap, up to 300 cases",
    "coverage_change": "the same of the paired changes of groups",
    "coverage_gap_change": "the same of the change of the difference that is followed",
    "width": "mean width of the intervals of the difference",
    "false_present": "share of cohorts without a difference that are told `present`",
    "false_improved": "share of cohorts where no group gained that are told `improved`",
    "power": "share told `present`; where there is no difference, this is the false alarm",
    "power_change": "share told what was planted of the change; where there is none, null",
    "power_fairlearn": "share in which fairlearn's bootstrap interval of difference() excludes 0",
    "repeats_fairlearn": "of the first so many cohorts",
    "power_fairmedfm": "share in which fairmedfm's delta_dice is above the margin of 0.05",
    "said_difference": "share of each answer",
    "said_change": "share of each answer",
    "coverage_adjusted_regression": "of the difference given size, which is 0, by regression",
    "coverage_adjusted_matching": "the same by matching",
    "settings": "digest of what was drawn and how it was judged",
    "commit": "of the library",
}

Row = dict[str, Any]


def draw(cohort: str, cases: int, repeat: int) -> pd.DataFrame:
    """Draw a cohort; its seed is made of its kind's name, its size and the repeat."""
    rng = np.random.default_rng([zlib.crc32(cohort.encode()), cases, repeat])
    kind = KINDS[cohort]
    return kind.draw(rng, kind.deal(cases))


def settings_of(cohort: str) -> str:
    """Return a digest of what a row depends on, but for its size and repeats."""
    kind = KINDS[cohort]
    drawn = (kind.about, dict(kind.before), dict(kind.after), list(kind.shares), sorted(kind.found))
    judged = (SETTINGS.margin, SETTINGS.difference_margin, SETTINGS.confidence, RESAMPLES, FEW)
    return hashlib.sha256(json.dumps([drawn, judged]).encode()).hexdigest()[:10]


def judge_cell(cohort: str, cases: int, repeats: int) -> Row:
    """Draw and judge a cell's cohorts, and count."""
    kind = KINDS[cohort]
    seen = [_observe(kind, draw(cohort, cases, repeat)) for repeat in range(repeats)]
    dealt = kind.deal(cases)
    largest = max(abs(value) for value in kind.difference.values())
    differences, changes = (
        _shares([one[name] for one in seen], answers)
        for name, answers in (("said_difference", Difference), ("said_change", Change))
    )
    covers = {name: [one[name] for one in seen] for name in seen[0] if name.startswith("coverage")}
    row: Row = {
        "cohort": cohort,
        "cases": cases,
        "groups": len(dealt),
        "clusters": _mean([one["clusters"] for one in seen]),
        "smaller_group": min(dealt.values()),
        "smaller_clusters": _mean([one["smaller_clusters"] for one in seen]),
        "repeats": repeats,
        "difference": round(largest, 4),
        "known": _mean([value for one in seen for value in one["known"]]),
        **{name: covered(values) for name, values in covers.items()},
        "coverage_se": _error(covers["coverage"]),
        "width": _mean([one["width"] for one in seen]),
        "false_present": None if largest else differences[Difference.PRESENT],
        "false_improved": None if kind.improves else changes[Change.IMPROVED],
        "power": differences[Difference.PRESENT],
        "power_change": round(sum(changes[one] for one in kind.found), 4) if kind.found else None,
        "power_fairmedfm": _mean([one["gap"] > SETTINGS.difference_margin for one in seen]),
        "said_difference": differences,
        "said_change": changes,
        "settings": settings_of(cohort),
    }
    return row


def ask_fairlearn(cohort: str, cases: int, repeats: int) -> Row:
    """Ask fairlearn about a cell's first cohorts, and hold fairmedfm's gap to be ours.

    Raises:
        RuntimeError: fairmedfm's gap is not the largest minus the smallest of our group means.
    """
    excluded = 0
    for repeat in range(repeats):
        table = draw(cohort, cases, repeat)
        host = judge(table).host
        gap = fairmedfm_gap(table)
        if abs(gap - (host.group_max - host.group_min)) > 1e-9:
            raise RuntimeError(f"{cohort}, {cases} cases, repeat {repeat}: fairmedfm says {gap}")
        excluded += fairlearn_difference(table, seed=repeat).excludes_zero
    return {"power_fairlearn": round(excluded / repeats, 4), "repeats_fairlearn": repeats}


def covered(counts: Sequence[Sequence[bool]]) -> float | None:
    """Return the share of intervals that cover, over all repeats; None where there is none."""
    every = [hit for one in counts for hit in one]
    return _mean(every) if every else None


def _observe(kind: Kind, table: pd.DataFrame) -> Row:
    """Judge one cohort, and note what is counted."""
    few = len(table) <= FEW
    found = judge(table, resamples=RESAMPLES if few else 0)
    differences = [(one, kind.difference[group]) for group, one in found.host.difference.items()]
    known = [one for one, _ in differences if one.known]
    by_group = table.groupby("group", sort=False)["cluster"]
    followed = []
    if (follow := found.followed) is not None:
        truth = kind.change[follow.better] - kind.change[follow.worse]
        followed = [(follow.change, truth)]
    changes = [(one, kind.change[group]) for group, one in found.change.by_group.items()]
    return {
        "clusters": table["cluster"].nunique(),
        "smaller_clusters": by_group.nunique().iloc[by_group.size().argmin()],
        "known": [one.known for one, _ in differences],
        "coverage": _cover(differences),
        "coverage_change": _cover(changes),
        "coverage_gap_change": _cover(followed),
        **({"coverage_bootstrap": _cover_bootstrap(differences)} if few else {}),
        **(_adjusted(found, table) if "size" in table else {}),
        "width": float(np.mean([one.high - one.low for one in known])) if known else np.nan,
        "gap": found.host.group_max - found.host.group_min,
        "said_difference": found.difference_verdict.answer,
        "said_change": found.change_verdict.answer,
    }


def _adjusted(found: Judged, table: pd.DataFrame) -> dict[str, list[bool]]:
    """Say whether the differences among cases of like size hold 0, by each method."""
    values = table["before"].to_numpy(dtype=float)
    answers = adjust(values, found.design, {"mask size": np.log1p(table["size"])})
    return {
        f"coverage_adjusted_{one.method}": _cover([(each, 0.0) for each in one.difference.values()])
        for one in answers
        if one.method in METHODS
    }


def _cover(pairs: Sequence[tuple[Estimate, float]]) -> list[bool]:
    return [one.low <= truth <= one.high for one, truth in pairs if one.known]


def _cover_bootstrap(pairs: Sequence[tuple[Estimate, float]]) -> list[bool]:
    return [one.bootstrap_low <= truth <= one.bootstrap_high for one, truth in pairs if one.known]


def _mean(values: Sequence[float]) -> float:
    return round(float(np.nanmean(np.asarray(values, dtype=float))), 4)


def _error(counts: Sequence[Sequence[bool]]) -> float:
    """Return the standard error of a share, from the spread of the repeats' own shares."""
    shares = [float(np.mean(one)) for one in counts if one]
    return round(float(np.std(shares, ddof=1)) / len(shares) ** 0.5, 4) if shares[1:] else np.nan


def _shares(said: Sequence[str], answers: type[Difference] | type[Change]) -> dict[str, float]:
    counts = Counter(said)
    return {str(answer): round(counts[answer] / len(said), 4) for answer in answers}
