"""How much the groups' true means vary: the between-group variance without what chance adds.

The variance of observed means holds their sampling variance too, so that many small groups always
seem to differ. Lum, Zhang and Bower (FAccT 2022, arXiv 2205.05770) take both away: the divisor is
the number of groups less one, and the mean sampling variance is subtracted. Where groups share
patients their means are correlated, and what is subtracted is half the mean variance of the
pairwise differences, which is the same where they are not:

    corrected = 1 / (A - 1) sum_g (m_g - m)^2 - 1 / (A (A - 1)) sum_{g<h} Var(m_g - m_h)

It is unbiased, and so may be negative; its root is shown as 0 then.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from apple_seg.audit.inference.intervals import ClusterSums, contrast


@dataclass(frozen=True, kw_only=True)
class Dispersion:
    """Spread of the means of the groups that have an interval."""

    groups: int

    naive_sd: float
    """Standard deviation of the observed means, ddof 0, as is often reported."""

    corrected_variance: float
    """Double-corrected; NaN with fewer than two groups."""

    @property
    def corrected_sd(self) -> float:
        """Root of the corrected variance; 0 where that is negative."""
        return float(np.sqrt(max(self.corrected_variance, 0.0)))


def dispersion(sums: ClusterSums) -> Dispersion:
    """Estimate the spread of the groups' true means.

    Args:
        sums: Of `sum_clusters`; groups of fewer than two clusters are left out.
    """
    usable = [int(code) for code in np.flatnonzero(sums.clusters_by_group > 1)]
    means = sums.means[usable]
    if len(usable) < 2:
        nan = float("nan")
        return Dispersion(groups=len(usable), naive_sd=nan, corrected_variance=nan)
    unit = np.eye(len(sums.counts))
    pairs = [
        contrast(sums, list(unit[one] - unit[other]), confidence=0.95).se ** 2
        for one, other in combinations(usable, 2)
    ]
    count = len(usable)
    return Dispersion(
        groups=count,
        naive_sd=float(means.std()),
        corrected_variance=float(means.var(ddof=1) - sum(pairs) / (count * (count - 1))),
    )
