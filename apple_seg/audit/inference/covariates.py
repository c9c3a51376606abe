"""Columns of a cohort's table as terms of a regression, or as strata: numbers and words."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apple_seg.audit.inference.arrays import Floats
from apple_seg.data.groups import UNKNOWN_WORDS

_QUANTILES = (0.05, 0.35, 0.65, 0.95)
"""Where a spline has its knots (Harrell, Regression Modeling Strategies, 2015, table 2.3)."""

_FEW = 6
"""A number with at most so many values is taken by value."""

_RARE = 10
"""Words of fewer cases are taken together: a level of its own for three cases adjusts nothing."""


def numbers(column: "pd.Series[Any]") -> Floats | None:
    """Return a column as numbers (N,), NaN where unknown; None where it holds words."""
    text = column.astype("string").fillna("").str.strip()
    known = ~text.str.lower().isin(UNKNOWN_WORDS)
    found = pd.to_numeric(text.where(known), errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    if np.isnan(found[known.to_numpy()]).any():
        return None
    found[~np.isfinite(found)] = np.nan
    return np.asarray(found, dtype=float)


def terms(column: "pd.Series[Any]") -> Floats:
    """Return the columns (N, k) that a regression is adjusted by.

    A number becomes a restricted cubic spline of four knots, its unknown values their mean and a
    column that marks them; words, and numbers of few values, become a column each but for the most
    frequent.
    """
    found = numbers(column)
    if found is None or len(np.unique(found[~np.isnan(found)])) <= _FEW:
        return _indicators(levels(column))
    unknown = np.isnan(found)
    filled = np.where(unknown, found[~unknown].mean(), found)
    marks = [unknown[:, None].astype(float)] if unknown.any() else []
    return np.hstack([spline(filled, knots(found)), *marks])


def knots(values: Floats) -> Floats:
    """Return where a spline of these values (N,) has its knots: two at least, all different."""
    known = values[np.isfinite(values)]
    found = np.unique(np.quantile(known, _QUANTILES))
    return found if len(found) > 2 else np.unique([known.min(), known.max()])


def spline(values: Floats, at: Floats) -> Floats:
    """Return restricted cubic splines (N, k - 1) with k knots: cubic between, linear beyond.

    The truncated power basis of Devlin and Weeks (1986); its first column is the value itself.
    With two knots it is the only one.
    """
    span = at[-1] - at[0]
    scaled, placed = (values - at[0]) / span, (at - at[0]) / span

    def cube(knot: float) -> Floats:
        return np.asarray(np.maximum(scaled - knot, 0) ** 3)

    last, before = placed[-1], placed[-2]
    curved = [
        cube(knot)
        - cube(before) * (last - knot) / (last - before)
        + cube(last) * (before - knot) / (last - before)
        for knot in placed[:-2]
    ]
    return np.stack([scaled, *curved], axis=1)


def levels(column: "pd.Series[Any]") -> NDArray[np.int64]:
    """Return the level (N,) of each case, from 0: words, rare ones together, unknown ones apart."""
    text = column.astype("string").fillna("").str.strip().str.lower()
    text = text.where(~text.isin(UNKNOWN_WORDS), "unknown")
    rare = text.map(text.value_counts()) < _RARE
    codes, _ = pd.factorize(text.where(~rare | (text == "unknown"), "other, rare"), sort=True)
    return np.asarray(codes, dtype=np.int64)


def strata(column: "pd.Series[Any]", bins: int) -> NDArray[np.int64]:
    """Return the stratum (N,) of each case: numbers by quantiles, words by level."""
    found = numbers(column)
    if found is None or len(np.unique(found[~np.isnan(found)])) <= bins:
        return levels(column)
    cuts = np.unique(np.quantile(found[~np.isnan(found)], np.arange(1, bins) / bins))
    return np.where(np.isnan(found), len(cuts) + 1, np.digitize(found, cuts)).astype(np.int64)


def _indicators(codes: NDArray[np.int64]) -> Floats:
    counts = np.bincount(codes)
    others = [code for code in np.flatnonzero(counts) if code != counts.argmax()]
    return (
        np.stack([codes == code for code in others], axis=1)
        .astype(float)
        .reshape(len(codes), len(others))
        if others
        else np.zeros((len(codes), 0))
    )
