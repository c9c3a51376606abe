"""An oracle segmentor: masks of the wished Dice, so that a cohort's true numbers are known."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from apple_seg.data.cohort import KEY, MASK, SPLIT, Case, Cohort
from apple_seg.data.groups import Groups
from apple_seg.data.planted import PlantedCohort, draw_scores
from apple_seg.data.sources import MemorySource
from apple_seg.errors import CaseError

_TRUTHS = 16


class Counts(NamedTuple):
    """How many voxels of a prediction lie inside the truth, and how many it has."""

    truth: int
    overlap: int
    predicted: int

    @property
    def dice(self) -> float:
        """The Dice that comes of them, exactly."""
        return 2 * self.overlap / (self.truth + self.predicted)


def nearest_counts(truth: int, room: int, dice: float) -> Counts:
    """Return the counts whose Dice is nearest to `dice`, for `truth` voxels and `room` around.

    The error is about 1e-5 at 250 voxels; next to 0, 1 and other simple fractions, where counts
    are far apart, it is up to 1 / (4 truth).
    """
    predicted = np.arange(min(truth + room, 3 * truth) + 1)
    overlap = np.rint(dice * (truth + predicted) / 2).astype(np.int64)
    overlap = np.clip(overlap, np.maximum(predicted - room, 0), np.minimum(truth, predicted))
    error = np.abs(2 * overlap / (truth + predicted) - dice)
    # Of equally near ones the prediction that is about as large as the truth.
    best = int(np.argmin(error + 1e-5 * np.abs(predicted / truth - 1)))
    return Counts(truth, int(overlap[best]), int(predicted[best]))


def with_dice(truth: NDArray[np.bool_], dice: float) -> NDArray[np.bool_]:
    """Return a mask of (*spatial) that has the wished Dice with `truth`, or the nearest there is.

    What it lacks is missing from the border inwards, and what it has too much lies next to it.

    Raises:
        CaseError: The truth is empty: no prediction has a Dice with it.
    """
    size = int(truth.sum())
    if size == 0:
        raise CaseError("the truth is empty, and no Dice can be wished for it")
    counts = nearest_counts(size, truth.size - size, dice)
    flat = truth.ravel()
    inside, outside = np.flatnonzero(flat), np.flatnonzero(~flat)
    predicted = np.zeros(truth.size, dtype=bool)
    depth = distance_transform_edt(truth).ravel()[inside]
    predicted[inside[np.argsort(-depth, kind="stable")[: counts.overlap]]] = True
    if excess := counts.predicted - counts.overlap:
        distance = distance_transform_edt(~truth).ravel()[outside]
        predicted[outside[np.argsort(distance, kind="stable")[:excess]]] = True
    return predicted.reshape(truth.shape)


@dataclass(frozen=True)
class Oracle:
    """A segmentor that knows the truth and misses it by as much as it is told."""

    dice: Mapping[str, float]
    """Case key to the Dice of each of its classes; a class that is not there stays empty."""

    def __call__(self, cases: Sequence[Case]) -> list[NDArray[np.bool_]]:
        """Return the cases' masks, each (K, *spatial).

        Raises:
            CaseError: A case has no mask, or no Dice is wished for it.
        """
        return [self._segment(case) for case in cases]

    def _segment(self, case: Case) -> NDArray[np.bool_]:
        if case.mask is None or case.key not in self.dice:
            lacking = "mask" if case.mask is None else "wished Dice"
            raise CaseError(f"{case.key}: the oracle needs its {lacking}")
        if not case.mask.any():
            raise CaseError(f"{case.key}: the truth is empty, and no Dice can be wished for it")
        dice = self.dice[case.key]
        return np.stack([with_dice(plane, dice) if plane.any() else plane for plane in case.mask])


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is so in a cohort: mean Dice by group, before and after."""

    reference: str
    before: Mapping[str, float]
    after: Mapping[str, float]

    @property
    def change(self) -> dict[str, float]:
        """After minus before, by group."""
        return {group: self.after[group] - mean for group, mean in self.before.items()}

    @property
    def difference(self) -> dict[str, float]:
        """Reference minus group, before."""
        return {group: self.before[self.reference] - mean for group, mean in self.before.items()}

    @property
    def difference_after(self) -> dict[str, float]:
        """Reference minus group, after."""
        return {group: self.after[self.reference] - mean for group, mean in self.after.items()}


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A cohort whose truth is known, and the segmentors that make it so."""

    cohort: Cohort
    groups: Groups
    before: Oracle
    after: Oracle
    expected: Truth
    """As declared: what an interval should cover."""

    realised: Truth
    """Of these very cases, as exactly as the masks show it."""


def plant(settings: PlantedCohort) -> Planted:
    """Draw a cohort of tiny masks with what was planted in it.

    Labels of groups are the names in the settings, in a column `group`.
    """
    rng = np.random.default_rng(settings.seed)
    truths = [_ellipse(rng, settings.size) for _ in range(_TRUTHS)]
    table = draw_scores(settings, rng=rng)
    shapes = rng.integers(_TRUTHS, size=len(table))
    table[KEY] = [f"images/{number:06d}.npy" for number in table.index]
    table[MASK] = [f"masks/{shape:02d}.npy" for shape in shapes]
    table[SPLIT] = "test"
    files = {f"masks/{number:02d}.npy": _npy(truth) for number, truth in enumerate(truths)}
    pictures = [_npy(np.where(truth, 180, 60).astype(np.uint8)) for truth in truths]
    files |= {key: pictures[shape] for key, shape in zip(table[KEY], shapes, strict=True)}
    wished = {name: dict(zip(table[KEY], table.pop(name), strict=True)) for name in _MOMENTS}
    sizes = np.array([truth.sum() for truth in truths])[shapes]
    realised = {
        name: _group_means(table, sizes, settings.size**2, wished[name]) for name in _MOMENTS
    }
    reference = next(iter(settings.cases))
    after = {group: mean + settings.changes[group] for group, mean in settings.means.items()}
    return Planted(
        cohort=Cohort(table, MemorySource(files), {"lesion": 1}),
        groups=Groups(by={"group": list(settings.cases)}, reference=f"group = {reference}"),
        before=Oracle(wished["before"]),
        after=Oracle(wished["after"]),
        expected=Truth(reference=reference, before=dict(settings.means), after=after),
        realised=Truth(reference=reference, **realised),
    )


_MOMENTS = ("before", "after")


def _group_means(
    table: pd.DataFrame, sizes: NDArray[np.int64], pixels: int, wished: Mapping[str, float]
) -> dict[str, float]:
    dice = [
        nearest_counts(int(size), pixels - int(size), wished[key]).dice
        for key, size in zip(table[KEY], sizes, strict=True)
    ]
    means = pd.Series(dice, table.index).groupby(table["group"], sort=False).mean()
    return {str(group): float(mean) for group, mean in means.items()}


def _ellipse(rng: np.random.Generator, size: int) -> NDArray[np.bool_]:
    """Draw a truth (size, size): at 32 px, of 150 to 350 pixels."""
    line = np.arange(size) - (size - 1) / 2
    middle = rng.uniform(-0.05, 0.05, 2) * size
    radii = rng.uniform(0.22, 0.33, 2) * size
    y, x = (line[:, None] - middle[0]) / radii[0], (line - middle[1]) / radii[1]
    return np.asarray(y**2 + x**2 <= 1)


def _npy(array: NDArray[Any]) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()
