"""Least squares whose intervals know which cases share a patient: adjusted differences, curves.

CR2, the bias-reduced linearisation (Bell and McCaffrey 2002), with Satterthwaite degrees of freedom
(Pustejovsky and Tipton 2018, J. Bus. Econ. Stat. 36:672), under the working model of independent
errors of equal variance. With M = (X'X)^-1, M^1/2 its symmetric root, and for each cluster i
S_i = M^1/2 X_i'X_i M^1/2, the adjusted rows are A_i X_i M c = X_i g_i with
g_i = M^1/2 (I - S_i)^-1/2 M^1/2 c, so that everything is done on k x k matrices, whatever a
cluster's size:

    Var(c'b) = sum_i (g_i' X_i' e_i)^2
    df = tr(G)^2 / tr(G G),  G = diag(d) - B M B',  d_i = g_i' X_i'X_i g_i,  b_i = X_i'X_i g_i

or what `correlated.py` says, where that is more careful.

`intervals.py` is the same for X of group indicators, in closed form.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apple_seg.audit.inference.arrays import Floats
from apple_seg.audit.inference.correlated import Independent, Shared, careful
from apple_seg.audit.inference.intervals import Estimate, estimate

_SINGULAR = 1e-9
"""Share of what is known of a direction that is nothing, but for rounding."""

_COLLINEAR = 1e-10
"""Least eigenvalue of X'X, as a share of the largest, of columns that are not each other's."""


@dataclass(frozen=True)
class Regression:
    """A fitted linear model, ready to estimate contrasts of its coefficients."""

    size: Floats
    """(k,) root mean square of each column; what follows is of columns divided by it."""

    coefficients: Floats
    """(k,)."""

    root: Floats
    """(k, k) symmetric root of the pseudo-inverse of X'X."""

    kept: Floats
    """(k, k) projection on what the design determines."""

    crossed: Floats
    """(J, k, k) X_i'X_i of each cluster."""

    scores: Floats
    """(J, k) X_i'e_i of each cluster."""

    ones: Floats
    """(J, k) X_i'1 of each cluster."""

    n_cases: int

    def contrast(self, weights: NDArray[Any], *, confidence: float) -> Estimate:
        """Estimate `weights @ coefficients`.

        NaN where the design does not determine it (a covariate that is the group by another name),
        and no interval where one cluster alone decides it.

        Args:
            weights: (k,) of the columns as they were given.
            confidence: Of the interval, two-sided.
        """
        c = np.asarray(weights, dtype=float) / self.size
        n = (self.n_cases, len(self.scores))
        if not np.allclose(self.kept @ c, c, rtol=0, atol=1e-6 * np.abs(c).max(initial=0.0)):
            return estimate(float("nan"), float("nan"), float("nan"), confidence, n=n)
        value, pulled = float(c @ self.coefficients), self.root @ c
        shares, vectors = self._shares
        alone = 1 - shares < _SINGULAR
        # A direction that only this cluster informs has no residual in it: pseudo-inverse.
        scale = np.where(alone, 0.0, 1 / np.sqrt(np.where(alone, 1.0, 1 - shares)))
        along = np.swapaxes(vectors, 1, 2) @ pulled
        if (along[alone] ** 2).max(initial=0.0) > _SINGULAR * float(pulled @ pulled):
            return estimate(value, float("nan"), float("nan"), confidence, n=n)
        g = (vectors @ (scale * along)[..., None])[..., 0] @ self.root
        b = np.einsum("jkl,jl->jk", self.crossed, g)
        d = (b * g).sum(axis=1)
        variance = float(((g * self.scores).sum(axis=1) ** 2).sum())
        independent = Independent(d, b @ self.root)
        if not independent.trace > _SINGULAR * d.sum():
            return estimate(value, float("nan"), float("nan"), confidence, n=n)
        shared = Shared(
            p=(g * self.ones).sum(axis=1),
            s=self.ones,
            q=independent.rooted @ self.root,
            true=self.ones @ (self.root @ pulled),
        )
        inflation, df = careful(independent, shared)
        return estimate(value, float(np.sqrt(variance * inflation)), df, confidence, n=n)

    @cached_property
    def _shares(self) -> tuple[Floats, Floats]:
        """Eigenvalues (J, k) and eigenvectors (J, k, k) of each cluster's share, S_i."""
        shares, vectors = np.linalg.eigh(self.root @ self.crossed @ self.root)
        return shares, vectors


def regress(values: Floats, design: Floats, clusters: NDArray[Any]) -> Regression:
    """Fit values (N,) on the columns of a design (N, k), by least squares.

    Of columns that determine each other the solution of the smallest norm is taken.

    Args:
        values: Finite.
        design: Finite; an intercept is a column of ones.
        clusters: (N,) whom each case's errors are shared with.
    """
    _, place = np.unique(clusters, return_inverse=True)
    order = np.argsort(place, kind="stable")
    place, values = place[order], values[order]
    size = np.sqrt((design**2).mean(axis=0))
    size[size == 0] = 1.0
    x = design[order] / size
    found, vectors = np.linalg.eigh(x.T @ x)
    known = found > found.max(initial=0.0) * _COLLINEAR
    root = (vectors * np.where(known, 1 / np.sqrt(np.where(known, found, 1.0)), 0.0)) @ vectors.T
    coefficients = root @ (root @ (x.T @ values))
    residuals = values - x @ coefficients
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    return Regression(
        size=size,
        coefficients=coefficients,
        root=root,
        kept=(vectors * known) @ vectors.T,
        crossed=np.add.reduceat(x[:, :, None] * x[:, None, :], starts, axis=0),
        scores=np.add.reduceat(x * residuals[:, None], starts, axis=0),
        ones=np.add.reduceat(x, starts, axis=0),
        n_cases=len(values),
    )
