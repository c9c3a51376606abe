"""What the audit says of one drawn cohort, through its own functions and without its tables.

`apple_seg.audit.compare_scores` does the same and more (other policies, counts, classes), and takes
tens of times as long; a test holds that both say the same.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from apple_seg.audit import AuditSettings, Disaggregated, Followed, Judgement
from apple_seg.audit.inference.figures import Design, disaggregate, estimate_difference
from apple_seg.audit.verdicts import judge_change, judge_difference

SETTINGS = AuditSettings(metrics=("dice",), gallery=0, resamples=0)
"""The audit's defaults: margins, confidence."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Figures and answers of one cohort."""

    design: Design
    host: Disaggregated
    change: Disaggregated
    followed: Followed | None
    difference_verdict: Judgement
    change_verdict: Judgement


def judge(table: pd.DataFrame, *, resamples: int = 0) -> Judged:
    """Judge a cohort as the audit does.

    Args:
        table: A row a case: `group`, `cluster`, `before`, `after`; the first group that occurs is
            the reference.
        resamples: Of the bootstrap beside the host's difference.
    """
    codes, labels = pd.factorize(table["group"])
    quick = Design(
        codes=codes.astype(np.int64),
        clusters=pd.factorize(table["cluster"])[0],
        labels=tuple(labels),
        reference=0,
        confidence=SETTINGS.confidence,
        resamples=0,
        seed=SETTINGS.seed,
    )
    before, after = (table[name].to_numpy(dtype=float) for name in ("before", "after"))
    host = disaggregate(before, quick._replace(resamples=resamples))
    change = disaggregate(after - before, quick)
    followed = _follow(host, quick, {"host": before, "perturbed": after, "change": after - before})
    return Judged(
        design=quick,
        host=host,
        change=change,
        followed=followed,
        difference_verdict=judge_difference(host, margin=SETTINGS.difference_margin),
        change_verdict=judge_change(change, followed, margin=SETTINGS.margin),
    )


def _follow(
    host: Disaggregated,
    design: Design,
    values: dict[str, "np.ndarray[tuple[int], np.dtype[np.float64]]"],
) -> Followed | None:
    """Follow the difference that the audit follows: reference and worst group."""
    worse, best = host.worst_group, host.best_group
    if worse is None or best is None or worse == best:
        return None
    reference = design.labels[design.reference]
    better = best if worse == reference else reference
    found = {
        name: estimate_difference(one, design, better=better, worse=worse)
        for name, one in values.items()
    }
    return Followed(better=better, worse=worse, **found)
