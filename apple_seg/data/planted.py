"""What is planted in a cohort, and its scores: Dice before and after, without any masks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtr

from apple_seg.data.cohort import CLUSTER


def _equal(value: float) -> dict[str, float]:
    return {"A": value, "B": value}


@dataclass(frozen=True, kw_only=True)
class PlantedCohort:
    """What is true of a cohort: Dice by group before, and what a mitigation changes.

    Each case's Dice follows a Beta distribution, before and after, so that nothing is clipped
    and the expectations are exactly the declared ones. A Gaussian copula ties the two, and the
    cases of a patient.
    """

    cases: Mapping[str, int] = field(default_factory=lambda: {"A": 200, "B": 200})
    """Group to its number of cases; the first group is the reference."""

    means: Mapping[str, float] = field(default_factory=lambda: _equal(0.85))
    """Group to its expected Dice before."""

    changes: Mapping[str, float] = field(default_factory=lambda: _equal(0.0))
    """Group to the expected change of its Dice."""

    sd: float = 0.1
    """Standard deviation of a group's Dice over cases."""

    change_sd: float = 0.03
    """About the standard deviation of the change over cases; 0 with no change changes nothing."""

    cases_per_patient: int = 3
    """A patient has one to so many cases."""

    correlation: float = 0.5
    """Between cases of one patient, of the Dice and of the change."""

    size: int = 32
    """Height and width in pixels."""

    seed: int = 0

    def __post_init__(self) -> None:
        if {*self.cases} != {*self.means} or {*self.cases} != {*self.changes}:
            raise ValueError(
                "cases, means and changes must name the same groups, got "
                f"{list(self.cases)}, {list(self.means)}, {list(self.changes)}"
            )
        if not (0 <= self.correlation <= 1 and self.sd > 0 and 0 <= self.change_sd <= self.sd):
            raise ValueError(
                "correlation goes from 0 to 1 and change_sd from 0 to sd, which is positive; got "
                f"{self.correlation}, {self.change_sd}, {self.sd}"
            )
        for group, mean in self.means.items():
            for wished in (mean, mean + self.changes[group]):
                if not 0 < wished < 1 or wished * (1 - wished) <= self.sd**2:
                    raise ValueError(
                        f"no Dice has mean {wished:g} and standard deviation {self.sd:g} "
                        f"(group {group!r})"
                    )


def draw_scores(settings: PlantedCohort, *, rng: np.random.Generator | None = None) -> pd.DataFrame:
    """Draw a cohort's Dice before and after, without any masks.

    Args:
        settings: What is true of the cohort.
        rng: Where the numbers come from; one of `settings.seed` where there is none.

    Returns:
        A row a case, group by group: `group`, `cluster`, `before`, `after`.
    """
    table = draw_normals(settings, np.random.default_rng(settings.seed) if rng is None else rng)
    means = table["group"].map(settings.means).to_numpy(dtype=float)
    changes = table["group"].map(settings.changes).to_numpy(dtype=float)
    table["before"] = _beta(table["before"].to_numpy(), means, settings.sd)
    table["after"] = _beta(table["after"].to_numpy(), means + changes, settings.sd)
    return table


def draw_normals(settings: PlantedCohort, rng: np.random.Generator) -> pd.DataFrame:
    """Draw what ties a cohort's scores, as standard normal numbers: the copula.

    Whoever wants scores of another distribution maps `before` and `after` through its quantiles;
    `means` and `changes` play no part here.

    Returns:
        A row a case, group by group: `group`, `cluster`, `before`, `after`.
    """
    parts = [_group_normals(rng, settings, n) for n in settings.cases.values()]
    names = [
        f"{group}{patient:05d}"
        for group, part in zip(settings.cases, parts, strict=True)
        for patient in part.patients
    ]
    groups = np.repeat(list(settings.cases), list(settings.cases.values()))
    before = np.concatenate([part.before for part in parts])
    after = np.concatenate([part.after for part in parts])
    return pd.DataFrame({"group": groups, CLUSTER: names, "before": before, "after": after})


class _Normals(NamedTuple):
    """Of one group's cases: (N,) each."""

    patients: NDArray[np.int64]
    before: NDArray[np.float64]
    after: NDArray[np.float64]


def _group_normals(rng: np.random.Generator, settings: PlantedCohort, count: int) -> _Normals:
    patients = np.repeat(np.arange(count), rng.integers(1, settings.cases_per_patient + 1, count))
    patients = patients[:count]
    # As correlated as makes the change's standard deviation, were both normal.
    tie = 1 - settings.change_sd**2 / (2 * settings.sd**2)
    before = _clustered(rng, patients, settings.correlation)
    other = _clustered(rng, patients, settings.correlation)
    return _Normals(patients, before, tie * before + np.sqrt(1 - tie**2) * other)


def _clustered(
    rng: np.random.Generator, patients: NDArray[np.int64], correlation: float
) -> NDArray[np.float64]:
    """Return standard normal numbers (N,) that are correlated within patients."""
    shared = rng.standard_normal(len(patients))[patients]
    own = rng.standard_normal(len(patients))
    return np.asarray(np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)


def _beta(normal: NDArray[Any], mean: NDArray[Any], sd: float) -> NDArray[Any]:
    """Map standard normal numbers (N,) to Beta distributions of these means (N,)."""
    weight = mean * (1 - mean) / sd**2 - 1
    return np.asarray(betaincinv(mean * weight, (1 - mean) * weight, ndtr(normal)))
