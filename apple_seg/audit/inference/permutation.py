"""The permutation test of a difference: how often chance alone would make one as large.

Patients change places between two groups, with all their cases. The statistic is the difference
over its standard error, which keeps the level where the groups' variances differ (Janssen 1997,
Stat. Probab. Lett. 36:9; Chung and Romano 2013, Ann. Stat. 41:484). A patient with cases in both
groups stays, and his two lots of cases change groups or not.
"""

import numpy as np
from numpy.typing import NDArray

from apple_seg.audit.inference.arrays import Floats
from apple_seg.audit.inference.intervals import ClusterSums

_CHUNK = 2_000_000  # labels drawn at once
_ROUNDING = 1e-13
"""Variance of groups without any, as a share of their squared difference."""


def permutation_p(
    sums: ClusterSums, *, first: int, second: int, permutations: int, seed: int
) -> float:
    """Return the two-sided p-value of `mean of first - mean of second`, in (0, 1].

    NaN where a group has fewer than two clusters, or `permutations` is 0.

    Args:
        sums: Of `sum_clusters`.
        first: Code of a group.
        second: Code of another one.
        permutations: R; the smallest p-value is 1 / (R + 1).
        seed: Of a generator of its own.
    """
    few = min(int(sums.clusters_by_group[code]) for code in (first, second)) < 2
    if few or not permutations:
        return float("nan")
    cells = _Cells.of(sums, first, second)
    observed = _studentised(*cells.moments(cells.own[None]))[0]
    if np.isnan(observed):  # all cases alike
        return 1.0
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // len(cells.own))
    larger = 0
    for start in range(0, permutations, rows):
        labels = cells.draw(rng, min(rows, permutations - start))
        drawn = _studentised(*cells.moments(labels))
        larger += int((drawn >= observed * (1 - 1e-9)).sum())
    return (larger + 1) / (permutations + 1)


class _Cells:
    """The lots of cases that keep together, and which of them may change places."""

    def __init__(self, parts: Floats, own: NDArray[np.bool_], pairs: NDArray[np.int64]) -> None:
        self.parts = parts
        """(J, 5): cases, sum, and the products that squared residuals are made of."""
        self.own = own
        """(J,) whether the cell is in the first group."""
        self.pairs = pairs
        """(M, 2) cells of one cluster, one a group; all others are alone."""
        self.alone = np.setdiff1d(np.arange(len(own)), pairs.ravel())

    @classmethod
    def of(cls, sums: ClusterSums, first: int, second: int) -> "_Cells":
        """Take the cells of two groups."""
        mine = np.flatnonzero((sums.group == first) | (sums.group == second))
        # Of equal location the squares lose no digits.
        centre = sums.total[mine].sum() / sums.size[mine].sum()
        size = sums.size[mine].astype(float)
        total = sums.total[mine] - centre * size
        parts = np.stack([size, total, total**2, total * size, size**2], axis=1)
        order = np.lexsort((sums.group[mine], sums.cluster[mine]))
        cluster = sums.cluster[mine][order]
        twice = np.flatnonzero(cluster[1:] == cluster[:-1])
        pairs = np.stack([order[twice], order[twice + 1]], axis=1)
        return cls(parts, sums.group[mine] == first, pairs)

    def draw(self, rng: np.random.Generator, rows: int) -> NDArray[np.bool_]:
        """Return labels (rows, J): whether each cell is in the first group."""
        labels = np.broadcast_to(self.own, (rows, len(self.own))).copy()
        labels[:, self.alone] = rng.permuted(labels[:, self.alone], axis=1)
        swapped = rng.random((rows, len(self.pairs))) < 0.5
        for place in (0, 1):
            labels[:, self.pairs[:, place]] ^= swapped
        return labels

    def moments(self, labels: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Return the parts (rows, 5) of the first group and of the second."""
        inside = labels.astype(float) @ self.parts
        return inside, self.parts.sum(axis=0) - inside


def _studentised(first: Floats, second: Floats) -> Floats:
    """Return the absolute difference of means over its standard error (rows,)."""
    means, variances = [], []
    for cases, total, squares, products, sizes in (first.T, second.T):
        mean = total / cases
        means.append(mean)
        variances.append((squares - 2 * mean * products + mean**2 * sizes) / cases**2)
    difference, variance = np.abs(means[0] - means[1]), variances[0] + variances[1]
    variance[variance < _ROUNDING * difference**2] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(difference / np.sqrt(variance))
