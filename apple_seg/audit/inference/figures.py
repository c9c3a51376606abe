"""One metric, overall and by group: fairlearn's words, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apple_seg.audit.inference.arrays import Floats
from apple_seg.audit.inference.bootstrap import resample_means, with_bootstrap
from apple_seg.audit.inference.intervals import Estimate, contrast, sum_clusters, with_runs


class Design(NamedTuple):
    """What the cases are, whatever is measured of them."""

    codes: NDArray[np.int64]
    """(N,) group of each case; negative where it is in none."""

    clusters: NDArray[Any]
    """(N,) whom each case's errors are shared with."""

    labels: tuple[str, ...]
    """The groups."""

    reference: int
    """Code of the group that differences are taken from."""

    confidence: float
    resamples: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Disaggregated:
    """A mean over cases, overall and by group."""

    overall: Estimate
    """Of all scored cases, those of unknown group among them."""

    by_group: Mapping[str, Estimate]

    difference: Mapping[str, Estimate]
    """Reference minus group, for every other group."""

    @property
    def group_min(self) -> float:
        """The lowest group mean; NaN where there is none."""
        return min(self._means, default=float("nan"))

    @property
    def group_max(self) -> float:
        """The highest group mean; NaN where there is none."""
        return max(self._means, default=float("nan"))

    @property
    def worst_group(self) -> str | None:
        """The group with the lowest mean; None where no group has a scored case."""
        known = {label: est.value for label, est in self.by_group.items() if est.n_cases}
        return min(known, key=known.__getitem__) if known else None

    @property
    def best_group(self) -> str | None:
        """The group with the highest mean; None where no group has a scored case."""
        known = {label: est.value for label, est in self.by_group.items() if est.n_cases}
        return max(known, key=known.__getitem__) if known else None

    @property
    def _means(self) -> list[float]:
        return [estimate.value for estimate in self.by_group.values() if estimate.n_cases]


def disaggregate(values: Floats, design: Design) -> Disaggregated:
    """Estimate the mean of values (N,) overall, by group, and the signed differences.

    NaN values are left out; the estimates say how many cases they rest on.
    """
    everyone = _Means(values, np.zeros(len(values), dtype=np.int64), design, 1)
    means = _Means(values, design.codes, design, len(design.labels))
    unit = np.eye(len(design.labels))
    return Disaggregated(
        overall=everyone.estimate(np.ones(1)),
        by_group={label: means.estimate(unit[code]) for code, label in enumerate(design.labels)},
        difference={
            label: means.estimate(unit[design.reference] - unit[code])
            for code, label in enumerate(design.labels)
            if code != design.reference
        },
    )


def estimate_difference(values: Floats, design: Design, *, better: str, worse: str) -> Estimate:
    """Estimate the mean of one group minus that of another."""
    unit = np.eye(len(design.labels))
    weights = unit[design.labels.index(better)] - unit[design.labels.index(worse)]
    return _Means(values, design.codes, design, len(design.labels)).estimate(weights)


def across_runs(mean: Disaggregated, runs: Sequence[Disaggregated]) -> Disaggregated:
    """Add to figures that are averaged over training runs what another training would change.

    Args:
        mean: Of each case's mean over the runs: its standard errors are those of the patients.
        runs: Of each run alone.
    """
    if len(runs) < 2:
        return mean
    return Disaggregated(
        overall=with_runs(mean.overall, [one.overall.value for one in runs]),
        by_group={
            label: with_runs(found, [one.by_group[label].value for one in runs])
            for label, found in mean.by_group.items()
        },
        difference={
            label: with_runs(found, [one.difference[label].value for one in runs])
            for label, found in mean.difference.items()
        },
    )


class _Means:
    """Group means with their resamples, drawn once for all contrasts."""

    def __init__(
        self, values: Floats, codes: NDArray[np.int64], design: Design, n_groups: int
    ) -> None:
        self.confidence = design.confidence
        self.sums = sum_clusters(values, groups=codes, clusters=design.clusters, n_groups=n_groups)
        self.resampled = resample_means(self.sums, resamples=design.resamples, seed=design.seed)

    def estimate(self, weights: Floats) -> Estimate:
        """Return a contrast of the means with both its intervals."""
        found = contrast(self.sums, list(weights), confidence=self.confidence)
        return with_bootstrap(found, self.resampled, list(weights))
