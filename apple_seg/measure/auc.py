"""Areas under ROC curves whose intervals know which cases share a patient.

DeLong's interval by placements, extended to clusters (Obuchowski 1997, Biometrics 53:567). The
placement of a case is the share of the other side's cases that it is on the right side of, ties
counting half, and the AUC is the mean placement of either side. A case's share in the error is

    phi = (placement - AUC) / number of cases on its side,

averaged over folds, and over groups where there are more than two. Summed within clusters,

    Var(AUC) = J / (J - 1) * sum_j (phi_j - mean phi)^2,

with t quantiles of J - 1 degrees of freedom, on the logit scale: the interval stays in [0, 1].
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import t as student

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Auc:
    """An area under a ROC curve; NaN where there is none, or no interval."""

    value: float
    low: float
    high: float
    confidence: float
    clusters: NDArray[Any] = field(repr=False, compare=False)
    """(J,) names."""

    shares: Floats = field(repr=False, compare=False)
    """(J,) each cluster's phi, times the spread."""


class AucChange(NamedTuple):
    """How far one AUC lies above another of the same cases."""

    value: float
    low: float
    high: float


class _Placed(NamedTuple):
    """One ROC curve."""

    auc: float
    phi: Floats
    """(n,) of the cases that it is of."""


def macro_auc(
    scores: Floats,
    codes: Codes,
    clusters: NDArray[Any],
    *,
    folds: Codes | None = None,
    spread: float = 1.0,
    confidence: float = 0.95,
) -> Auc:
    """Return how well scores tell groups apart: the mean over folds of the AUC within each.

    Scores of different folds are never compared: they come from different probes.

    Args:
        scores: (N,) of group 1 against group 0, or (N, A), one column a group: then the mean over
            groups of one against the rest.
        codes: (N,) groups, 0 to A - 1.
        clusters: (N,) whom each case's errors are shared with.
        folds: (N,) which probe gave each score; one where None. A fold without a group, or with
            nothing but it, says nothing of that group.
        spread: How much wider the interval has to be, where folds are not independent.
        confidence: Of the interval, two-sided.
    """
    folds = np.zeros(len(codes), dtype=np.int64) if folds is None else folds
    columns = {1: scores} if scores.ndim == 1 else dict(enumerate(scores.T))
    aucs, phi = [], np.zeros(len(codes))
    for code, column in columns.items():
        curves = list(_by_fold(column, codes == code, folds))
        if not curves:
            return _nothing(confidence)
        aucs.append(np.mean([one.auc for _, one in curves]))
        for rows, one in curves:
            phi[rows] += spread * one.phi / len(curves) / len(columns)
    names, place = np.unique(clusters, return_inverse=True)
    shares = np.bincount(place, weights=phi, minlength=len(names)).astype(np.float64)
    value = float(np.mean(aucs))
    smaller = min(len(np.unique(clusters[codes == code])) for code in np.unique(codes))
    low, high = _interval(value, shares, confidence, smaller)
    return Auc(
        value=value, low=low, high=high, confidence=confidence, clusters=names, shares=shares
    )


def auc_change(after: Auc, before: Auc) -> AucChange:
    """Return how far `after` lies above `before`, paired by cluster.

    Raises:
        ValueError: They are not of the same clusters.
    """
    if not np.array_equal(after.clusters, before.clusters):
        raise ValueError("two AUCs can be paired where they are of the same cases only")
    value = after.value - before.value
    reach = _reach(after.shares - before.shares, after.confidence)
    return AucChange(value, value - reach, value + reach)


def _by_fold(
    scores: Floats, positive: NDArray[np.bool_], folds: Codes
) -> Iterator[tuple[NDArray[np.bool_], _Placed]]:
    for fold in np.unique(folds):
        rows = folds == fold
        if positive[rows].any() and not positive[rows].all():
            yield rows, _place(scores[rows], positive[rows])


def _place(scores: Floats, positive: NDArray[np.bool_]) -> _Placed:
    """Place each side's scores among the other's."""
    above, below = scores[positive], scores[~positive]
    of_positive = _share_below(above, below)
    of_negative = 1 - _share_below(below, above)
    auc = float(of_positive.mean())
    phi = np.empty(len(scores))
    phi[positive] = (of_positive - auc) / len(above)
    phi[~positive] = (of_negative - auc) / len(below)
    return _Placed(auc, phi)


def _share_below(values: Floats, others: Floats) -> Floats:
    """Return the share of `others` below each value, ties counting half."""
    ordered = np.sort(others)
    left, right = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return np.asarray((left + right) / (2 * len(others)), dtype=np.float64)


def _interval(auc: float, shares: Floats, confidence: float, smaller: int) -> tuple[float, float]:
    if len(shares) < 2:
        return float("nan"), float("nan")
    if auc in (0.0, 1.0):
        # Nothing varies, and yet a few cases prove little: as if each cluster of the smaller
        # group were one success in a binomial (Clopper and Pearson).
        bound = ((1 - confidence) / 2) ** (1 / smaller)
        return (bound, 1.0) if auc else (0.0, 1 - bound)
    reach = _reach(shares, confidence) / (auc * (1 - auc))
    return float(expit(logit(auc) - reach)), float(expit(logit(auc) + reach))


def _reach(shares: Floats, confidence: float) -> float:
    """Return half the width of an interval."""
    count = len(shares)
    if count < 2:
        return float("nan")
    variance = count / (count - 1) * ((shares - shares.mean()) ** 2).sum()
    return float(student.ppf((1 + confidence) / 2, count - 1) * np.sqrt(variance))


def _nothing(confidence: float) -> Auc:
    nan, none = float("nan"), np.zeros(0)
    return Auc(value=nan, low=nan, high=nan, confidence=confidence, clusters=none, shares=none)
