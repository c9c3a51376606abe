"""Kinds of cohorts whose truth is planted, drawn as scores: no masks are made.

Dice before and after are tied by a Gaussian copula, and so are the cases of a patient
(`apple_seg.data.planted`). What differs by kind is the distribution of the scores, how many
cases a group and a patient have, and what was planted. All of it was fixed before the first run.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import betaincinv, expit, ndtr

from apple_seg.data.planted import PlantedCohort, draw_normals, draw_scores
from benchmarks.inference.shape import SHAPE

SIZES = (30, 60, 100, 150, 300, 600, 1000, 3000)
"""Cases in all."""

DIFFERENCE, CHANGE = 0.05, 0.03
"""What is planted where something is: the second group is worse by so much, and gains it (or the
first one loses it)."""

Values = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of cohort, at any size."""

    about: str
    draw: Callable[[np.random.Generator, Mapping[str, int]], pd.DataFrame]
    """To a row a case: `group`, `cluster`, `before`, `after`, and `size` where it matters."""

    before: Values
    """Group to its expected Dice; the first group is the reference."""

    after: Values
    shares: Sequence[int] = (1, 1)
    """How the cases are dealt to the groups."""

    sizes: Sequence[int] = SIZES
    found: frozenset[str] = frozenset()
    """Answers on the change that name what was planted; none where nothing changed."""

    @property
    def difference(self) -> dict[str, float]:
        """Reference minus group, before."""
        (_, reference), *others = self.before.items()
        return {group: reference - mean for group, mean in others}

    @property
    def change(self) -> dict[str, float]:
        """After minus before, by group."""
        return {group: self.after[group] - mean for group, mean in self.before.items()}

    def deal(self, cases: int) -> dict[str, int]:
        """Return the cases of each group; what cannot be dealt goes to the first ones."""
        shares = np.array(self.shares)
        dealt = cases * shares // shares.sum()
        dealt[: cases - dealt.sum()] += 1
        return dict(zip(self.before, dealt.tolist(), strict=True))

    @property
    def improves(self) -> bool:
        """Whether `improved` is the truth."""
        return "improved" in self.found


def _planted(about: str, *, groups: str = "AB", **settings: Any) -> Kind:
    """Return a kind whose Dice are Beta distributed, as `PlantedCohort` has them."""
    own = {name: settings.pop(name) for name in ("shares", "sizes", "found") if name in settings}
    nothing = dict.fromkeys(groups, 0.0)
    means = dict(zip(groups, settings.pop("means", [0.85] * len(groups)), strict=True))
    changes = nothing | settings.pop("changes", {})

    def draw(rng: np.random.Generator, cases: Mapping[str, int]) -> pd.DataFrame:
        made = PlantedCohort(cases=cases, means=means, changes=changes, **settings)
        return draw_scores(made, rng=rng)

    after = {group: mean + changes[group] for group, mean in means.items()}
    return Kind(about=about, draw=draw, before=means, after=after, **own)


@cache
def shape() -> dict[str, NDArray[np.float64]]:
    """Return the quantiles of real Dice: `all`, then by group."""
    stored = json.loads(SHAPE.read_text(encoding="utf-8"))
    shapes = {"all": stored["all"], **stored["by_group"]}
    return {label: np.array(one["quantiles"]) for label, one in shapes.items()}


def mean_of(quantiles: NDArray[np.float64]) -> float:
    """Return the mean of the distribution with these quantiles, evenly spaced, linear between."""
    return float((quantiles[1:] + quantiles[:-1]).mean() / 2)


def _skewed(
    about: str, shapes: tuple[str, str], *, gain: float = 0.0, clustered: bool = False, **own: Any
) -> Kind:
    """Return a kind whose Dice follow the stored quantiles.

    A gain of the second group takes the same share of what each case lacks to 1.
    """
    before = dict(zip("AB", (shape()[label] for label in shapes), strict=True))
    lack = 1 - gain / (1 - mean_of(before["B"]))
    after = {"A": before["A"], "B": 1 - (1 - before["B"]) * lack}
    patients: Mapping[str, Any] = {"cases_per_patient": 12, "correlation": 0.7} if clustered else {}

    def draw(rng: np.random.Generator, cases: Mapping[str, int]) -> pd.DataFrame:
        table = draw_normals(PlantedCohort(cases=cases, **patients), rng)
        levels = np.linspace(0, 1, len(before["A"]))
        for name, quantiles in (("before", before), ("after", after)):
            for group in cases:
                rows = table["group"] == group
                drawn = ndtr(table.loc[rows, name].to_numpy())
                table.loc[rows, name] = np.interp(drawn, levels, quantiles[group])
        return table

    means = [
        {group: mean_of(one) for group, one in quantiles.items()} for quantiles in (before, after)
    ]
    return Kind(about=about, draw=draw, before=means[0], after=means[1], **own)


_SMALLER = {"A": 0.0, "B": -0.7}
"""Mean of the log size, in standard deviations, of each group."""


def _by_size(log_size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the expected Dice (N,) at a size (N,): it saturates, as real Dice does."""
    return np.asarray(expit(1.75 + 0.5 * log_size))


def _size_confounded() -> Kind:
    """Return a kind whose Dice depends on the mask's size, and on nothing else."""
    at, weights = np.polynomial.hermite_e.hermegauss(64)
    means = {
        group: float(weights @ _by_size(at + shift) / weights.sum())
        for group, shift in _SMALLER.items()
    }

    def draw(rng: np.random.Generator, cases: Mapping[str, int]) -> pd.DataFrame:
        table = draw_normals(PlantedCohort(cases=cases), rng)
        log_size = table["group"].map(_SMALLER).to_numpy() + rng.standard_normal(len(table))
        expected = _by_size(log_size)
        for name in ("before", "after"):
            ranks = ndtr(table[name].to_numpy())
            table[name] = betaincinv(11.75 * expected, 11.75 * (1 - expected), ranks)
        table["size"] = np.rint(2000 * np.exp(0.8 * log_size))
        return table

    about = "Dice depends on the mask's size only, and the second group's masks are smaller"
    return Kind(about=about, draw=draw, before=means, after=means)


_REAL: Mapping[str, Any] = {"means": [0.85, 0.85 - DIFFERENCE]}
_GAIN: Mapping[str, Any] = {**_REAL, "changes": {"B": CHANGE}, "found": frozenset({"improved"})}
_UNBALANCED: Mapping[str, Any] = {"shares": (9, 1), "sizes": (*SIZES[:-1], 1500, SIZES[-1])}
_CLUSTERED: Mapping[str, Any] = {"cases_per_patient": 12, "correlation": 0.7}
_AGE = ("age < 60", "age >= 60")

KINDS: Mapping[str, Kind] = {
    "null": _planted("no difference, no change; patients of 1-3 cases, correlation 0.5"),
    "real": _planted("the second group is 0.05 worse and gains 0.03", **_GAIN),
    "levelled down": _planted(
        "the second group is 0.05 worse; the first one loses 0.03",
        **_REAL,
        changes={"A": -CHANGE},
        found=frozenset({"levelled down", "harmed"}),
    ),
    "size-confounded": _size_confounded(),
    "clustered": _planted("null; patients of 1-12 cases, correlation 0.7", **_CLUSTERED),
    "clustered, real": _planted("real, clustered so", **_CLUSTERED, **_GAIN),
    "unbalanced": _planted("null; nine cases to one", **_UNBALANCED),
    "unbalanced, real": _planted("real; nine cases to one", **_UNBALANCED, **_GAIN),
    "skewed": _skewed("null; Dice as a UNet's on HAM10000", ("all", "all")),
    "skewed, real": _skewed(
        "HAM10000's own difference by age; the older gain 0.03",
        _AGE,
        gain=CHANGE,
        found=frozenset({"improved"}),
    ),
    "skewed, clustered, unbalanced": _skewed(
        "HAM10000's own difference by age, 1-12 cases a patient, nine cases to one; no change",
        _AGE,
        clustered=True,
        **_UNBALANCED,
    ),
    "eight groups": _planted(
        "null; eight groups",
        groups="ABCDEFGH",
        shares=(1,) * 8,
        sizes=(30, 60, 100, 150, 300, 600, 1200, 3000),
    ),
}
