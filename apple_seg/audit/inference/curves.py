"""A score against a number, such as Dice against age: what a cut into groups throws away."""

from dataclasses import dataclass

import numpy as np

from apple_seg.audit.inference.arrays import Floats
from apple_seg.audit.inference.covariates import knots, spline
from apple_seg.audit.inference.figures import Design
from apple_seg.audit.inference.intervals import Estimate
from apple_seg.audit.inference.regression import regress

_POINTS = 41
_DRAWN, _ENDS = (0.02, 0.98), (0.1, 0.9)
_ENOUGH = 8
"""Clusters below which no curve is drawn: it has four coefficients."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The mean score as a smooth function of a number, with a pointwise band."""

    column: str
    x: tuple[float, ...]
    """From the 2nd to the 98th percentile of the cases that have both."""

    value: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    ends: tuple[float, float]
    """The 10th and the 90th percentile."""

    fall: Estimate
    """The curve at the lower end minus the curve at the upper end."""


def curve(values: Floats, column: str, numbers: Floats, design: Design) -> Curve | None:
    """Fit a restricted cubic spline (four knots) of a number, with cluster-robust intervals.

    Args:
        values: (N,) a score a case; NaN is left out.
        column: What the number is called.
        numbers: (N,) of the cases; NaN where it is not known. Known numbers count also where the
            group is not known.
        design: What the cases are; its groups play no part.

    Returns:
        None where there are too few clusters or different numbers.
    """
    kept = np.isfinite(values) & np.isfinite(numbers)
    y, x, clusters = values[kept], numbers[kept], design.clusters[kept]
    if len(np.unique(clusters)) < _ENOUGH or len(np.unique(x)) < 3:
        return None
    at = knots(x)

    def terms(where: Floats) -> Floats:
        return np.hstack([np.ones((len(where), 1)), spline(where, at)])

    model = regress(y, terms(x), clusters)
    first_x, last_x, low, high = (float(end) for end in np.quantile(x, (*_DRAWN, *_ENDS)))
    if first_x == last_x:  # nearly all cases have one number
        return None
    grid = np.linspace(first_x, last_x, _POINTS)
    found = [model.contrast(row, confidence=design.confidence) for row in terms(grid)]
    first, last = terms(np.array([low, high]))
    return Curve(
        column=column,
        x=tuple(grid.tolist()),
        value=tuple(one.value for one in found),
        low=tuple(one.low for one in found),
        high=tuple(one.high for one in found),
        ends=(low, high),
        fall=model.contrast(first - last, confidence=design.confidence),
    )
