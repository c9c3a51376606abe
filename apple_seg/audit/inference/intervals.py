"""Intervals of group means and their differences that know which cases share a patient.

CR2, the "bias-reduced linearisation" sandwich with Satterthwaite degrees of freedom (Bell and
McCaffrey 2002; Pustejovsky and Tipton 2018, J. Bus. Econ. Stat. 36:672), under the working model
of independent errors of equal variance. For means of groups everything is closed:

with n_g cases in group g, n_ig of them in cluster i, and s_ig the sum of their residuals,
    s~_ig = s_ig / sqrt(1 - n_ig / n_g)
    Var(c'm) = sum_i (sum_g c_g s~_ig / n_g)^2
    df = tr(G)^2 / tr(G G),  G = diag(d) - B B',
    a_ig = c_g / (n_g sqrt(1 - n_ig / n_g)),  d_i = sum_g a_ig^2 n_ig,
    B_ig = a_ig n_ig / sqrt(n_g).

A cluster may have cases in several groups. Where every cluster is one case, two groups give
Welch's t but for the degrees of freedom, which weigh the groups as if their variances were equal.
Where a few clusters hold most of a group, what `correlated.py` says is more careful and is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import stdtrit

from apple_seg.audit.inference.arrays import Floats
from apple_seg.audit.inference.correlated import Independent, Shared, careful

POWER = 0.8
"""Of the minimum detectable value."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with what is known of it; NaN where it cannot be known."""

    value: float
    low: float
    high: float
    se: float
    df: float
    confidence: float
    n_cases: int
    n_clusters: int
    minimum_detectable: float
    """The true value that would be told from 0 with 80 % power, two-sided at `confidence`:
    (t_{1 - alpha/2} + t_{0.8}) se."""

    bootstrap_low: float = float("nan")
    bootstrap_high: float = float("nan")

    @property
    def known(self) -> bool:
        """Whether there is an interval at all."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of 0, by more than rounding."""
        return self.known and (self.low > _ROUNDING or self.high < -_ROUNDING)

    def at(self, confidence: float) -> "Estimate":
        """Return the same estimate at another confidence, without its bootstrap."""
        return estimate(self.value, self.se, self.df, confidence, n=(self.n_cases, self.n_clusters))


_ROUNDING = 1e-12


@dataclass(frozen=True)
class ClusterSums:
    """Values summed within the cells of clusters and groups: all that the formulas need."""

    counts: NDArray[np.int64]
    """(A,) cases a group."""

    means: Floats
    """(A,) group means; NaN where a group has no case."""

    cluster: NDArray[np.int64]
    """(J,) cluster of each cell that has a case, as 0 .. I - 1."""

    group: NDArray[np.int64]
    """(J,) group of each cell."""

    size: NDArray[np.int64]
    """(J,) cases in each cell."""

    total: Floats
    """(J,) sum of the values of each cell."""

    @property
    def clusters_by_group(self) -> NDArray[np.int64]:
        """(A,) clusters that have a case in the group."""
        return np.bincount(self.group, minlength=len(self.counts))


def sum_clusters(
    values: NDArray[Any], *, groups: NDArray[Any], clusters: NDArray[Any], n_groups: int
) -> ClusterSums:
    """Sum values (N,) within clusters and groups.

    Cases with a NaN value or a negative group code are left out.
    """
    kept = np.isfinite(values) & (groups >= 0)
    values, groups = np.asarray(values, dtype=float)[kept], groups[kept].astype(np.int64)
    names, cluster = np.unique(clusters[kept], return_inverse=True)
    del names
    cells, cell = np.unique(cluster.astype(np.int64) * n_groups + groups, return_inverse=True)
    counts = np.bincount(groups, minlength=n_groups)
    # About the mean of all: a constant then sums to what it should, exactly.
    centre = values.mean() if len(values) else 0.0
    total = np.bincount(cell, weights=values - centre, minlength=len(cells))
    by_group = np.bincount(cells % n_groups, weights=total, minlength=n_groups)
    size = np.bincount(cell, minlength=len(cells))
    with np.errstate(invalid="ignore"):
        means = np.where(counts > 0, by_group / np.maximum(counts, 1) + centre, np.nan)
    return ClusterSums(
        counts, means, cells // n_groups, cells % n_groups, size, total + centre * size
    )


def contrast(sums: ClusterSums, weights: Sequence[float], *, confidence: float) -> Estimate:
    """Estimate a contrast of group means, `weights @ means`.

    Where a group with a weight has no case, or one cluster only, there is no interval.

    Args:
        sums: Of `sum_clusters`.
        weights: (A,) of the groups; those with weight 0 play no part.
        confidence: Of the interval, two-sided.
    """
    c = np.asarray(weights, dtype=float)
    used = c != 0
    mine = used[sums.group]
    cluster, group, size = sums.cluster[mine], sums.group[mine], sums.size[mine]
    n = (int(sums.counts[used].sum()), len(np.unique(cluster)))
    value = float(c[used] @ sums.means[used]) if used.any() else float("nan")
    if not used.any() or (sums.clusters_by_group[used] < 2).any():
        return estimate(value, float("nan"), float("nan"), confidence, n=n)
    cases = sums.counts[group]
    residual = sums.total[mine] - size * sums.means[group]
    if _alike(residual, size, sums.means[group], group, sums.clusters_by_group):
        return estimate(value, float("nan"), float("nan"), confidence, n=n)
    # (J,) of A_i X_i M c, equal for all cases of a cell.
    a = c[group] / (cases * np.sqrt(1 - size / cases))
    _, place = np.unique(cluster, return_inverse=True)
    variance = float((np.bincount(place, weights=a * residual) ** 2).sum())
    d = _summed(a**2 * size, place)
    independent = Independent(d, _spread(a * size / np.sqrt(cases), place, group))
    shared = Shared(
        p=_summed(a * size, place),
        s=_spread(size, place, group),
        q=_spread(a * size / cases, place, group),
        true=_summed(c[group] * size / cases, place),
    )
    inflation, df = careful(independent, shared)
    return estimate(value, float(np.sqrt(variance * inflation)), df, confidence, n=n)


def _summed(entries: NDArray[Any], place: NDArray[np.int64]) -> Floats:
    return np.bincount(place, weights=entries).astype(float)


def _alike(
    residual: Floats,
    size: NDArray[np.int64],
    mean: Floats,
    group: NDArray[np.int64],
    clusters: NDArray[np.int64],
) -> bool:
    """Return whether some group has few clusters and all alike: that is no proof of no variance.

    All alike in n clusters means no more than that at most 3 / n of such clusters are otherwise
    (the rule of three, at 95 %).
    """
    moved = np.abs(residual) > _ROUNDING * size * np.maximum(np.abs(mean), 1e-3)
    varied = np.bincount(group, weights=moved, minlength=len(clusters)) > 0
    return bool((~varied[group] & (clusters[group] < _FEW)).any())


_FEW = 30


def _spread(entries: NDArray[Any], rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Any:
    """Return a matrix (clusters, groups) with these entries; sparse where it is wide."""
    shape = (int(rows.max()) + 1, int(columns.max()) + 1)
    if shape[1] > _DENSE:  # strata of a matching: hundreds of columns, nearly all of them empty
        return csr_array((np.asarray(entries, dtype=float), (rows, columns)), shape=shape)
    matrix = np.zeros(shape)
    matrix[rows, columns] = entries
    return matrix


_DENSE = 16


def with_runs(mean: Estimate, values: Sequence[float]) -> Estimate:
    """Widen the interval of a mean over training runs by what another training would change.

    The variance between S runs, divided by S, is added to that between patients, and the degrees
    of freedom are Satterthwaite's of the sum, S - 1 for the runs' part. The bootstrap, which knows
    of patients only, is left out.

    Args:
        mean: Of each case's mean over the runs.
        values: (S,) the same number of each run, two at least.
    """
    between = float(np.var(values, ddof=1)) / len(values)
    own = mean.se**2
    weight = own**2 / mean.df + between**2 / (len(values) - 1)
    # Runs without any spread add nothing, and patients without any leave the runs' own.
    df = (own + between) ** 2 / weight if weight > 0 else mean.df
    return estimate(
        mean.value,
        float(np.sqrt(own + between)),
        float(df),
        mean.confidence,
        n=(mean.n_cases, mean.n_clusters),
    )


def estimate(
    value: float, se: float, df: float, confidence: float, *, n: tuple[int, int]
) -> Estimate:
    """Return a value with its t interval; a NaN `se` gives none.

    Args:
        value: The point estimate.
        se: Its standard error.
        df: Degrees of freedom of the standard error.
        confidence: Of the interval, two-sided.
        n: Cases and clusters.
    """
    if np.isfinite(se):
        reach = float(stdtrit(df, (1 + confidence) / 2)) * se
        detectable = reach + float(stdtrit(df, POWER)) * se
    else:
        reach = detectable = float("nan")
    return Estimate(
        value=value,
        low=value - reach,
        high=value + reach,
        se=se,
        df=df,
        confidence=confidence,
        n_cases=n[0],
        n_clusters=n[1],
        minimum_detectable=detectable,
    )
