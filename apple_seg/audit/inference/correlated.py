"""What an interval is worth where the cases of a patient are alike: a second working model.

The sandwich is made for independent errors, and adapts to correlated ones where patients are many.
Where a few hold most of a group's cases it does not: with one patient of 200 cases and two of one,
independent errors would give many degrees of freedom, and errors that patients' cases share next to
none. So a second model is asked, in which half of a case's variance is its own and half is its
patient's, and the more careful answer is taken: the fewer degrees of freedom, and a variance that
is not below what it ought to be expected to be.

With errors u_i shared by all cases of cluster i, the terms that are squared are h = H u,
H = diag(p) - Q S', where s_i = X_i'1, p_i = g_i's_i and q_i = M b_i (see `regression.py`). Beside
G = diag(d) - B M B' of independent errors,

    expected = tr(G) + tr(H H'),  df = expected^2 / tr((G + H H')^2),
    true = tr(G) + sum_i (c'M s_i)^2

all of them of matrices as small as the design is wide, since H H' is diagonal but for rank 2 k.
"""

from typing import Any, NamedTuple

import numpy as np

from apple_seg.audit.inference.arrays import Floats


class Independent(NamedTuple):
    """What independent errors make of a contrast's variance."""

    d: Floats
    """(J,)."""

    rooted: Any
    """(J, k) B M^1/2, dense or sparse."""

    @property
    def trace(self) -> float:
        """tr(G)."""
        return float(self.d.sum() - self._own.sum())

    @property
    def squared(self) -> float:
        """tr(G G)."""
        gram = _small(self.rooted.T @ self.rooted)
        return float((self.d**2).sum() - 2 * (self.d * self._own).sum() + (gram**2).sum())

    @property
    def df(self) -> float:
        """Satterthwaite's degrees of freedom."""
        return self.trace**2 / self.squared

    @property
    def _own(self) -> Floats:
        return _row_sums(self.rooted * self.rooted)


class Shared(NamedTuple):
    """What errors that are shared within clusters are made of."""

    p: Floats
    """(J,) g_i's_i."""

    s: Any
    """(J, k) X_i'1, dense or sparse."""

    q: Any
    """(J, k) M b_i, dense or sparse."""

    true: Floats
    """(J,) c'M s_i."""


class Careful(NamedTuple):
    """What to make of the sandwich's variance."""

    inflation: float
    """What its expected value lacks, as a factor; 1 at least."""

    df: float


def careful(independent: Independent, shared: Shared) -> Careful:
    """Return the more careful of both working models."""
    p, s, q, true = shared
    inner, outer = _small(q.T @ q), _small(s.T @ s)
    scaled = q * p[:, None]
    mixed, weighted = _small(s.T @ scaled), _small(scaled.T @ scaled)
    own = _row_sums((s @ inner) * s) - 2 * p * _row_sums(q * s)
    # ||diag(p^2) + U W U'||^2 with U = [S, diag(p) Q] and W = [[Q'Q, -1], [-1, 0]].
    gram = np.block([[outer, mixed], [mixed.T, weighted]])
    identity = np.eye(len(inner))
    w = np.block([[inner, -identity], [-identity, np.zeros_like(inner)]])
    product = w @ gram
    alone = float((p**4).sum() + 2 * (p**2 * own).sum() + (product * product.T).sum())
    # tr(G H H') = sum_i d_i (H H')_ii - ||H'B M^1/2||^2.
    diagonal = p**2 + _row_sums((q @ outer) * q) - 2 * p * _row_sums(q * s)
    through = independent.rooted * p[:, None] - s @ _small(q.T @ independent.rooted)
    crossed = float((independent.d * diagonal).sum()) - float(_row_sums(through * through).sum())
    expected = independent.trace + float(diagonal.sum())
    squared = independent.squared + 2 * crossed + alone
    wanted = independent.trace + float((true**2).sum())
    return Careful(max(1.0, wanted / expected), min(independent.df, expected**2 / squared))


def _small(product: Any) -> Floats:
    return np.asarray(product.toarray() if hasattr(product, "toarray") else product)


def _row_sums(matrix: Any) -> Floats:
    return np.asarray(matrix.sum(axis=1)).ravel()
